"""What a file can say of events: fields, their types, and the usual names of columns."""

from collections.abc import Mapping
from typing import Any, Final

from config.files.errors import RowRefused
from config.files.mapping import ColumnMapping, Fields
from contacts.imports.fields import COMPANY_ALIASES, IDENTITY_ALIASES, company_from, identifiers_from
from contacts.references import ContactReference
from events.stream.types import IncomingEvent

EVENT_FIELDS: Final = Fields(
    single={
        "name": "text",
        "timestamp": "time",
        "message_id": "text",
        "contact_id": "text",
        "email": "text",
        "phone": "text",
        "external_id": "text",
        "anonymous_id": "text",
        "identifiers": "json",
        "company_id": "text",
        "company_name": "text",
    },
    groups={"identifier": "text", "properties": "any", "context": "any"},
    # Of two columns for one field the first here counts; the other is a property.
    aliases={
        "event": "name",
        "eventname": "name",
        "eventtype": "name",
        "type": "name",
        "name": "name",
        "timestamp": "timestamp",
        "occurredat": "timestamp",
        "time": "timestamp",
        "messageid": "message_id",
        "contactid": "contact_id",
        **IDENTITY_ALIASES,
        **COMPANY_ALIASES,
        "properties": "properties",
        "metadata": "properties",
        "context": "context",
        "sessionid": "context.sessionId",
        "pageurl": "context.pageUrl",
        "referrer": "context.referrer",
        "utmsource": "context.utmSource",
        "utmmedium": "context.utmMedium",
        "utmcampaign": "context.utmCampaign",
    },
    rest="properties",
)


def incoming_event(mapping: ColumnMapping, values: Mapping[str, Any], key: str) -> IncomingEvent:
    """Return the event that a row describes; `key` is its message id where it has none.

    Raises DomainError with the cause.
    """
    fields = mapping.read(values)
    name = fields.get("name")
    if name is None:
        raise RowRefused("The event has no name")
    occurred_at = fields.get("timestamp")
    if occurred_at is None:
        raise RowRefused("The event has no time")
    return IncomingEvent(
        name,
        _contact(fields),
        _object(fields, "properties"),
        _object(fields, "context"),
        occurred_at,
        fields.get("message_id") or key,
        company_from(fields),
    )


def _contact(fields: Mapping[str, Any]) -> ContactReference | None:
    identifiers = tuple(identifiers_from(fields))
    id_ = fields.get("contact_id")
    if identifiers:
        return ContactReference(id_, identifiers, "create", id_falls_back=True)
    return None if id_ is None else ContactReference(id_)


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RowRefused(f"{name} must be an object")
    return value
