"""Tables between Omnisend's names and the core's."""

# Names of the contact's id and identifiers, and what the core calls them. The vendor's prose never names a
# wrapper, so without a `contact` they are read beside `eventName` (O1).
ID_FIELDS = ("id", "contactID")
IDENTIFIER_FIELDS = {"email": "email", "phoneNumber": "phone", "phone": "phone"}

# Contact fields that are texts, and how long each may be.
NAME_LENGTHS = {"firstName": 50, "lastName": 50}
ATTRIBUTE_LENGTHS = {
    "address": 500,
    "city": 255,
    "state": 100,
    "country": 100,
    "countryCode": 3,
    "postalCode": 20,
}
# Kept as attributes of the contact, under their own names.
ATTRIBUTE_FIELDS = (*ATTRIBUTE_LENGTHS, "gender", "birthdate")

CHANNELS = {"email": "email", "sms": "sms", "phone": "sms", "push": "push"}
# Lists of consents: the most items of each, and the core's status that it stands for.
CONSENT_LISTS = {"consents": (100, "opted_in"), "optIns": (10, "opted_in"), "optOuts": (10, "opted_out")}
# The proof of a consent becomes an attribute of the contact, for the core keeps a status only.
PROOF_FIELDS = ("createdAt", "source", "ip", "userAgent")

# By the core's error code: Omnisend's code and the field.
CODES = {
    "invalid_event_name": ("invalid_format", "eventName"),
    "invalid_event_time": ("invalid_format", "eventTime"),
    "invalid_message_id": ("invalid_format", "eventID"),
    "invalid_idempotency_key": ("invalid_format", "Idempotency-Key"),
    "invalid_identifier": ("invalid_format", "contact"),
    "identifier_taken": ("invalid_format", "contact"),
    "no_identity": ("required", "contact"),
    "too_many_properties": ("too_many", "properties"),
}
PROPERTY_CODES = {
    "invalid_property_value": "type_mismatch",
    "unknown_property": "invalid_name",
}

# A contact's identifiers: what each is called in the core is the same, and the channel that it is written to by.
IDENTIFIER_CHANNELS = {"email": "email", "phone": "sms"}
# The status of a channel and the core's; nonSubscribed says nothing.
STATUSES = {"subscribed": "opted_in", "unsubscribed": "opted_out", "nonSubscribed": None}
STATUS_OF_CONSENT = {"opted_in": "subscribed", "opted_out": "unsubscribed", None: "nonSubscribed"}

# Types of a custom event's fields, by the core's.
FIELD_TYPES = {"boolean": "bool", "integer": "int", "number": "float", "datetime": "dateTime"}
# What v3 calls members of an event.
OLD_FIELDS = {"properties": "fields", "eventName": "systemName", "contact": "email"}
