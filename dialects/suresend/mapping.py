"""Tables between Sure Send's names and the core's."""

# Event fields that describe where it happened, and their names in the core's context.
CONTEXT_OF_FIELD = {
    "pageUrl": "pageUrl",
    "pageTitle": "pageTitle",
    "pageReferrer": "referrer",
    "pageDuration": "pageDuration",
    "ipAddress": "ipAddress",
    "userAgent": "userAgent",
}
# Event fields that say what happened: the core's properties, under their own names.
PROPERTY_BLOCKS = ("property", "propertySearch", "message", "metadata")

# What a person has beyond names, identifiers and tags: attributes of the contact, under their own names.
PERSON_ATTRIBUTES = ("companyName", "stage", "source", "addresses", "assignedUserId", "averagePrice")
# The person's lists of identifiers in order of precedence (R4): the core's kind, and the attribute that keeps
# the `type` of each (work, mobile), for which an identifier has no place.
IDENTIFIER_LISTS = {"emails": ("email", "emailTypes"), "phones": ("phone", "phoneTypes")}
# What senders write flat, in the person or beside `type`, and the list that it is an item of.
FLAT_IDENTIFIERS = {"email": "emails", "phone": "phones"}
# Names that count as the person's where they stand beside such a flat one.
FLAT_NAMES = ("firstName", "lastName", "name")
