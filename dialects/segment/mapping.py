"""Tables between the names of Segment's HTTP API and the core's."""

CALLS = ("identify", "track", "page", "screen", "group", "alias")

# Traits that are a contact's names, and the traits by which it is known; the camel and snake spellings are in use.
FIRST_NAMES = ("firstName", "firstname", "first_name")
LAST_NAMES = ("lastName", "lastname", "last_name")
IDENTIFYING_TRAITS = {"email": "email", "phone": "phone"}

# Traits of a group that are a company's own, in order of precedence; the others become its attributes.
COMPANY_FIELDS = {
    "name": ("name",),
    "website": ("website",),
    "industry": ("industry",),
    "size": ("employees",),
}

# What the core's context has names for, by its path in Segment's; the rest of the context keeps its names.
CONTEXT_PATHS = {
    "pageUrl": ("page", "url"),
    "pageTitle": ("page", "title"),
    "referrer": ("page", "referrer"),
    "utmSource": ("campaign", "source"),
    "utmMedium": ("campaign", "medium"),
    "utmCampaign": ("campaign", "name"),
    "utmTerm": ("campaign", "term"),
    "utmContent": ("campaign", "content"),
    "ipAddress": ("ip",),
    "userAgent": ("userAgent",),
    "sessionId": ("sessionId",),
}
# Kept under the names above, or as traits.
MAPPED_CONTEXT = ("page", "campaign", "ip", "userAgent", "sessionId", "traits")

# Names of the events that views of pages and screens are, with a name of the view and without.
VIEW_NAMES = {"page": ("Viewed {} Page", "Loaded a Page"), "screen": ("Viewed {} Screen", "Loaded a Screen")}
