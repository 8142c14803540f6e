"""What a file can say of contacts: fields, their types, and the usual names of columns."""

from collections.abc import Mapping
from typing import Any, Final

from config.files.errors import RowRefused
from config.files.mapping import ColumnMapping, Fields
from contacts.models import Consent, Identifier
from contacts.references import ContactChanges, ContactReference

_IDENTIFIERS: Final = (Identifier.EMAIL, Identifier.PHONE, Identifier.EXTERNAL_ID, Identifier.ANONYMOUS_ID)
IDENTITY_ALIASES: Final[Mapping[str, str]] = {
    "email": "email",
    "emailaddress": "email",
    "phone": "phone",
    "phonenumber": "phone",
    "externalid": "external_id",
    "userid": "external_id",
    "anonymousid": "anonymous_id",
    "identifiers": "identifiers",
}
"""The fields of identifiers by the usual names of columns."""

CONTACT_FIELDS: Final = Fields(
    single={
        "email": "text",
        "phone": "text",
        "external_id": "text",
        "anonymous_id": "text",
        "identifiers": "json",
        "first_name": "text",
        "last_name": "text",
        "tags": "list",
    },
    groups={"identifier": "text", "attributes": "any", "consents": "any"},
    aliases={
        **IDENTITY_ALIASES,
        "firstname": "first_name",
        "lastname": "last_name",
        "tags": "tags",
        "attributes": "attributes",
        "consents": "consents",
    },
    rest="attributes",
)


def identifiers_from(fields: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the identifiers that a row names, those listed in `identifiers` last. Raises RowRefused."""
    found: list[tuple[str, Any]] = [(kind, fields[kind]) for kind in _IDENTIFIERS if kind in fields]
    if "identifier" not in fields and "identifiers" not in fields:
        return found
    found += fields.get("identifier", {}).items()
    for item in _listed(fields.get("identifiers", ())):
        if not isinstance(item, dict) or not isinstance(item.get("kind"), str) or "value" not in item:
            raise RowRefused("identifiers must be a list of objects with kind and value")
        found.append((item["kind"], item["value"]))
    return found


def _listed(value: Any) -> Any:
    if not isinstance(value, list | tuple):
        raise RowRefused("identifiers must be a list")
    return value


def contact_reference(mapping: ColumnMapping, values: Mapping[str, Any]) -> ContactReference:
    """Return the contact that a row describes. Raises DomainError with the cause."""
    fields = mapping.read(values)
    identifiers = identifiers_from(fields)
    if not identifiers:
        raise RowRefused("Nothing identifies the contact: it takes an email, a phone or another identifier")
    finders = tuple(dict.fromkeys(identifiers))
    return ContactReference(
        identifiers=finders,
        if_missing="create",
        update_matched=True,
        changes=ContactChanges(
            first_name=fields.get("first_name"),
            last_name=fields.get("last_name"),
            attributes=_object(fields, "attributes"),
            tags=tuple(fields.get("tags", ())),
            consents=_consents(_object(fields, "consents")),
        ),
    )


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name, {})
    if not isinstance(value, dict):
        raise RowRefused(f"{name} must be an object")
    return value


def _consents(consents: Mapping[str, Any]) -> dict[str, str]:
    found = {channel: _status(status) for channel, status in consents.items()}
    return {channel: status for channel, status in found.items() if status}


def _status(status: Any) -> str:
    """Return a consent's status, which systems spell in many ways; "" if nothing was said. Raises RowRefused."""
    spelled = str(status).strip().lower().replace("-", "_").replace(" ", "_")
    if spelled in _OPTED_IN:
        return Consent.Status.OPTED_IN
    if spelled in _OPTED_OUT:
        return Consent.Status.OPTED_OUT
    if spelled in _NEVER_SAID:
        return ""
    raise RowRefused(f"{str(status)[:100]!r} is no consent: opted_in and opted_out are")


_OPTED_IN: Final = frozenset({"opted_in", "subscribed", "true", "yes", "1"})
_NEVER_SAID: Final = frozenset(
    {"nonsubscribed", "non_subscribed", "not_subscribed", "never_subscribed", "none"}
)
_OPTED_OUT: Final = frozenset({"opted_out", "unsubscribed", "false", "no", "0"})
