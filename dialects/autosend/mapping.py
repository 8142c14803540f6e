"""Tables between AutoSend's names and the core's."""

from contacts.models import Identifier
from events.models import EventProperty

Type = EventProperty.Type

# A date of AutoSend's has a time of day (A5), so what it declares is a date-time.
TYPE_OF_WIRE = {
    "string": Type.STRING,
    "number": Type.NUMBER,
    "date": Type.DATETIME,
    "boolean": Type.BOOLEAN,
}
# The core knows finer types than this format can say.
WIRE_OF_TYPE = {
    Type.STRING: "string",
    Type.EMAIL: "string",
    Type.URL: "string",
    Type.NUMBER: "number",
    Type.INTEGER: "number",
    Type.DATE: "date",
    Type.DATETIME: "date",
    Type.BOOLEAN: "boolean",
}
# What a value must be (A6); the finer types are worded after the documented pattern.
SPOKEN_TYPE = {
    Type.STRING: "a string",
    Type.EMAIL: "an email address",
    Type.URL: "a URL",
    Type.NUMBER: "a number",
    Type.INTEGER: "an integer",
    Type.DATE: "a date",
    Type.DATETIME: "a date",
    Type.BOOLEAN: "a boolean",
}
# The core's kinds of identifiers, and the fields that carry them.
FIELD_OF_KIND = {Identifier.EMAIL: "email", Identifier.EXTERNAL_ID: "userId"}
FIELD_OF_CONTACT_FIELD = {"first_name": "firstName", "last_name": "lastName"}

MAX_DEFINITIONS = 100
MAX_PROPERTIES = 50
MAX_NAME_LENGTH = 64
MAX_CONTACTS = 100
MAX_EMAILS = 1000
