"""AutoSend's bodies: read into the core's terms, and rendered from them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from config.http.rendering import iso_millis
from contacts.errors import NoIdentity
from contacts.identifiers import normalize_identifier
from contacts.models import Contact, Identifier
from contacts.references import ContactChanges, ContactReference
from dialects.autosend.errors import INVALID_EMAIL, InvalidBody
from dialects.autosend.mapping import (
    MAX_CONTACTS,
    MAX_NAME_LENGTH,
    MAX_PROPERTIES,
    TYPE_OF_WIRE,
    WIRE_OF_TYPE,
)
from dialects.checks import Check, Problem, anything, boolean, form, listed, optional, record, text
from events.models import EventDefinition, EventProperty
from events.stream.definitions import PropertySpec
from events.stream.types import IncomingEvent, RecordedEvent

_NAME = re.compile(rf"[A-Za-z0-9_]{{1,{MAX_NAME_LENGTH}}}")
_MAX_EMAILS = 1000
_MAX_VALUE = 2048


@dataclass(frozen=True, slots=True)
class SentDefinition:
    """A definition as a body describes it; None is what a body leaves out."""

    name: str
    description: str | None
    properties: list[PropertySpec] | None


@dataclass(frozen=True, slots=True)
class SentContact:
    """A contact as a body describes it."""

    email: str
    user_id: str | None
    changes: ContactChanges


def parse_send(body: Mapping[str, Any]) -> IncomingEvent:
    """Return the event that `body` sends. Raises InvalidBody, then NoIdentity (A1)."""
    _raise_for(_SEND("", body))
    return IncomingEvent(
        name=body["eventName"],
        contact=_reference(body.get("contactId"), body.get("email")),
        properties=body.get("eventProperties") or {},
    )


def parse_definition(body: Mapping[str, Any]) -> SentDefinition:
    """Return the definition that `body` describes. Raises InvalidBody."""
    _raise_for(_DEFINITION("", body))
    return _definition(body)


def parse_definition_changes(body: Mapping[str, Any], name: str) -> SentDefinition:
    """Return what `body` changes of the definition called `name`: never that. Raises InvalidBody."""
    _raise_for(record({"eventName": _fixed(name), **_CHANGEABLE})("", body))
    return _definition(body)


def parse_contact(body: Any) -> SentContact:
    """Return the contact that `body` describes. Raises InvalidBody."""
    _raise_for(_CONTACT("", body))
    user_id = body.get("userId") or None
    identifiers = [(Identifier.EMAIL, body["email"])]
    if user_id is not None:
        identifiers.append((Identifier.EXTERNAL_ID, user_id))
    changes = ContactChanges(
        first_name=body.get("firstName"),
        last_name=body.get("lastName"),
        attributes=body.get("customFields") or {},
        identifiers=tuple(identifiers),
    )
    return SentContact(body["email"], user_id, changes)


def parse_bulk(body: Mapping[str, Any]) -> list[Any]:
    """Return the contacts of a bulk update, each to be read on its own. Raises InvalidBody."""
    _raise_for(_BULK("", body))
    contacts: list[Any] = body["contacts"]
    return contacts


def parse_emails(data: Any) -> list[str]:
    """Return the addresses, normalised, of `{"emails": […]}` or of a bare array. Raises InvalidBody."""
    body = {"emails": data} if isinstance(data, list) else data
    _raise_for(_EMAILS("", body))
    normalized = (normalize_identifier(Identifier.EMAIL, email) for email in body["emails"])
    return list(dict.fromkeys(email for email in normalized if email is not None))


def render_event(event: RecordedEvent) -> dict[str, Any]:
    """Return a recorded event."""
    return {
        "id": str(event.id),
        "eventName": event.name,
        "contactId": str(event.survivor_id),
        "properties": event.properties,
        "createdAt": iso_millis(event.received_at),
    }


def render_definition(definition: EventDefinition) -> dict[str, Any]:
    """Return a definition; its declared properties are prefetched."""
    return {
        "id": str(definition.id),
        "eventName": definition.name,
        "description": definition.description or None,
        "properties": [_property(row) for row in definition.properties.all()],
        "createdAt": iso_millis(definition.created_at),
        "updatedAt": iso_millis(definition.updated_at),
    }


def render_contact(contact: Contact) -> dict[str, Any]:
    """Return a contact; its identifiers are prefetched. There are no lists yet that it could be on."""
    return {
        "id": str(contact.id),
        "email": contact.email,
        "firstName": contact.first_name or None,
        "lastName": contact.last_name or None,
        "userId": contact.external_id,
        "customFields": contact.attributes,
        "listIds": [],
        "createdAt": iso_millis(contact.created_at),
        "updatedAt": iso_millis(contact.updated_at),
        "projectId": str(contact.workspace_id),
    }


def _raise_for(problems: Iterator[Problem]) -> None:
    if found := list(problems):
        raise InvalidBody(found)


def _reference(contact_id: str | None, email: str | None) -> ContactReference:
    # The id takes precedence, so a known address does not help an unknown id (A2). Empty is absent (A3).
    if contact_id:
        return ContactReference(id=contact_id)
    if email:
        return ContactReference(identifiers=((Identifier.EMAIL, email),))
    raise NoIdentity


def _definition(body: Mapping[str, Any]) -> SentDefinition:
    description, properties = body.get("description"), body.get("properties")
    if "description" in body and description is None:
        description = ""
    return SentDefinition(
        name=body.get("eventName", ""),
        description=description,
        properties=None if properties is None else [_spec(each) for each in properties],
    )


def _spec(sent: Mapping[str, Any]) -> PropertySpec:
    return PropertySpec(
        name=sent["propertyName"],
        type=TYPE_OF_WIRE[sent["type"]],
        description=sent.get("description") or "",
        suggested_values=tuple(sent.get("suggestedValues") or ()),
    )


def _property(row: EventProperty) -> dict[str, Any]:
    rendered = {"propertyName": row.name, "type": WIRE_OF_TYPE[EventProperty.Type(row.type)]}
    if row.description:
        rendered["description"] = row.description
    return {**rendered, "suggestedValues": row.suggested_values}


def _unless_empty(check: Check) -> Check:
    """Let null and the empty string pass, which mean that nothing was sent (A3)."""

    def check_unless_empty(path: str, value: Any) -> Iterator[Problem]:
        if value not in (None, ""):
            yield from check(path, value)

    return check_unless_empty


def _email(value: str) -> str | None:
    return normalize_identifier(Identifier.EMAIL, value)


def _has_user_id_form(value: str) -> bool:
    return normalize_identifier(Identifier.EXTERNAL_ID, value) is not None


def _is_name(value: str) -> bool:
    return _NAME.fullmatch(value) is not None


def _one_of(choices: Mapping[str, object]) -> Check:
    def check(path: str, value: Any) -> Iterator[Problem]:
        if not isinstance(value, str) or value not in choices:
            yield Problem(path, "invalid_choice", f"must be one of {', '.join(choices)}")

    return check


def _fixed(name: str) -> Check:
    """Let a name pass that is the one it has already: clients send back what they were shown."""

    def check(path: str, value: Any) -> Iterator[Problem]:
        if value != name:
            yield Problem(path, "unsupported", "cannot be changed")

    return check


def _definition_property(path: str, value: Any) -> Iterator[Problem]:
    problems = list(_PROPERTY_FIELDS(path, value))
    yield from problems
    if not problems and value.get("suggestedValues") and value["type"] != "string":
        yield Problem(f"{path}.suggestedValues", "unsupported", "is for properties of type string only")


def _definition_properties(path: str, value: Any) -> Iterator[Problem]:
    problems = list(listed(_definition_property, MAX_PROPERTIES)(path, value))
    yield from problems
    if problems:
        return
    seen = set()
    for index, each in enumerate(value):
        if each["propertyName"] in seen:
            yield Problem(f"{path}[{index}].propertyName", "repeated", "is declared twice")
        seen.add(each["propertyName"])


def _custom_fields(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield Problem(path, "unsupported_type", "must be an object")
        return
    for name, each in value.items():
        if isinstance(each, dict | list):
            yield Problem(f"{path}.{name}", "unsupported_type", "must be a string, number, boolean or date")


def _list_ids(path: str, value: Any) -> Iterator[Problem]:
    """Refuse every list by name: there are none yet, and membership is not dropped in silence."""
    problems = list(listed(text())(path, value))
    yield from problems
    if not problems:
        for index, list_id in enumerate(value):
            yield Problem(
                f"{path}[{index}]", "unknown_list", f'names a contact list that does not exist: "{list_id}"'
            )


def _filled_list(item: Check, max_items: int) -> Check:
    def check(path: str, value: Any) -> Iterator[Problem]:
        if value == []:
            yield Problem(path, "required", "must have at least 1 item")
        else:
            yield from listed(item, max_items)(path, value)

    return check


_NAME_FORM = f"must be 1 to {MAX_NAME_LENGTH} letters, digits or underscores"


def _named(path: str, value: Any) -> Iterator[Problem]:
    if not isinstance(value, str):
        yield Problem(path, "unsupported_type", "must be a string")
    elif not _is_name(value):
        yield Problem(path, "invalid_name", _NAME_FORM)


_PERSON_NAME = optional(text(255))
_EMAIL = form(_email, INVALID_EMAIL)
_SEND = record(
    {
        "eventName": text(is_blank_allowed=False),
        "email": _unless_empty(_EMAIL),
        "contactId": _unless_empty(text()),
        "eventProperties": optional(record({})),
    },
    required=("eventName",),
)
_PROPERTY_FIELDS = record(
    {
        "propertyName": _named,
        "type": _one_of(TYPE_OF_WIRE),
        "description": optional(text()),
        "suggestedValues": optional(listed(text(_MAX_VALUE))),
    },
    required=("propertyName", "type"),
)
_CHANGEABLE: dict[str, Check] = {
    "description": optional(text()),
    "properties": optional(_definition_properties),
}
_DEFINITION = record({"eventName": _named, **_CHANGEABLE}, required=("eventName",))
_CONTACT = record(
    {
        "email": _EMAIL,
        "firstName": _PERSON_NAME,
        "lastName": _PERSON_NAME,
        "userId": _unless_empty(form(_has_user_id_form, "Invalid userId")),
        "listIds": optional(_list_ids),
        "customFields": optional(_custom_fields),
    },
    required=("email",),
)
_BULK = record(
    {"contacts": _filled_list(anything, MAX_CONTACTS), "runWorkflow": optional(boolean)},
    required=("contacts",),
)
_EMAILS = record({"emails": listed(text(), _MAX_EMAILS)}, required=("emails",))
