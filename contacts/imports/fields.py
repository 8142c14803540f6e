"""What a file can say of contacts: fields, their types, and the usual names of columns."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from config import clock
from config.files.errors import RowRefused
from config.files.mapping import ColumnMapping, Fields
from config.files.times import parse_time
from contacts.models import Consent, Identifier
from contacts.references import CompanyReference, ContactChanges, ContactReference, PastConsent

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
COMPANY_ALIASES: Final[Mapping[str, str]] = {"companyid": "company_id", "companyname": "company_name"}
"""The fields of a company likewise."""


class ContactRow(NamedTuple):
    """A contact, and the companies that it belongs to."""

    contact: ContactReference
    companies: tuple[CompanyReference, ...] = ()


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
        "company_id": "text",
        "company_name": "text",
        "companies": "json",
    },
    groups={"identifier": "text", "attributes": "any", "consents": "any", "company": "any"},
    aliases={
        **IDENTITY_ALIASES,
        "firstname": "first_name",
        "lastname": "last_name",
        "tags": "tags",
        **COMPANY_ALIASES,
        "companies": "companies",
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
    found += _object(fields, "identifier").items()
    for item in _listed(fields.get("identifiers", ())):
        is_one = isinstance(item, dict) and isinstance(item.get("kind"), str) and "value" in item
        if not is_one or isinstance(item["value"], dict | list):
            raise RowRefused("identifiers must be a list of objects with kind and value")
        found.append((item["kind"], item["value"]))
    return found


def _listed(value: Any, name: str = "identifiers") -> Any:
    if not isinstance(value, list | tuple):
        raise RowRefused(f"{name} must be a list")
    return value


def company_from(fields: Mapping[str, Any]) -> CompanyReference | None:
    """Return the company that a row names: by its name, else by its id here."""
    if "company_name" in fields:
        return CompanyReference(name=fields["company_name"])
    return CompanyReference(id=fields["company_id"]) if "company_id" in fields else None


def contact_row(
    mapping: ColumnMapping, values: Mapping[str, Any], *, overwrites_consents: bool = False
) -> ContactRow:
    """Return the contact that a row describes, with its companies. Raises DomainError with the cause."""
    fields = mapping.read(values)
    return ContactRow(_contact_reference(fields, overwrites_consents), tuple(_companies(fields)))


def _companies(fields: Mapping[str, Any]) -> Iterator[CompanyReference]:
    if "company" in fields:
        parts = _object(fields, "company")
        known = {"id": fields.get("company_id"), "name": fields.get("company_name")}
        yield _company({**known, **parts})
    elif (company := company_from(fields)) is not None:
        yield company
    for item in _listed(fields.get("companies", ()), "companies"):
        if not isinstance(item, dict):
            raise RowRefused("companies must be a list of objects with a name")
        yield _company(item)


def _company(parts: Mapping[str, Any]) -> CompanyReference:
    """Return a company by what is told of it. Raises RowRefused."""
    if unknown := sorted(map(str, parts.keys() - set(_COMPANY_PARTS))):
        known = ", ".join(_COMPANY_PARTS)
        raise RowRefused(f"A company's {unknown[0][:100]!r} is not known; there are {known}")
    attributes = parts.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise RowRefused("A company's attributes must be an object")
    has_name = bool(parts.get("name") or parts.get("external_id"))
    return CompanyReference(
        id=None if has_name else parts.get("id"),
        name=parts.get("name"),
        website=parts.get("website"),
        industry=parts.get("industry"),
        size=parts.get("size"),
        external_id=parts.get("external_id"),
        attributes=attributes,
    )


def _contact_reference(fields: Mapping[str, Any], overwrites_consents: bool) -> ContactReference:
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
            past_consents=_consents(_object(fields, "consents"), overwrites_consents),
        ),
    )


def _object(fields: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = fields.get(name, {})
    if not isinstance(value, dict):
        raise RowRefused(f"{name} must be an object")
    return value


def _consents(consents: Mapping[str, Any], overwrites: bool) -> dict[str, PastConsent]:
    """Return the consents by channel, of columns such as `email`, `email.at`, `email.opted_out_at`, or of objects."""
    if not consents:
        return {}
    told: dict[str, dict[str, Any]] = {}
    for name, value in consents.items():
        channel, _, part = name.partition(".")
        parts = told.setdefault(channel, {})
        if not part and isinstance(value, dict):
            parts |= value
        else:
            parts[part or "status"] = value
    found = {channel: _consent(channel, parts) for channel, parts in told.items()}
    return {
        channel: PastConsent(*consent, overwrites=overwrites) for channel, consent in found.items() if consent
    }


def _consent(channel: str, parts: Mapping[str, Any]) -> tuple[str, datetime | None] | None:
    """Return status and time of a consent; None if nothing was said. Raises RowRefused."""
    if unknown := sorted(map(str, parts.keys() - set(_PARTS))):
        raise RowRefused(f"consents.{channel}.{unknown[0][:100]} is not known; there are {', '.join(_PARTS)}")
    at, opted_in_at, opted_out_at = (
        _moment(f"consents.{channel}.{part}", parts.get(part))
        for part in ("at", "opted_in_at", "opted_out_at")
    )
    said = parts.get("status")
    status = "" if said is None or said == "" else _status(said)
    if said in (None, "") and (opted_in_at or opted_out_at):
        is_out = opted_in_at is None or (opted_out_at is not None and opted_out_at >= opted_in_at)
        status = Consent.Status.OPTED_OUT if is_out else Consent.Status.OPTED_IN
    if _is_true(parts.get("unsubscribed")):
        status = Consent.Status.OPTED_OUT
    if not status:
        return None
    return status, at or (opted_out_at if status == Consent.Status.OPTED_OUT else opted_in_at)


def _is_true(value: Any) -> bool:
    """Tell whether a flag is set, as texts have it too."""
    return value is not None and str(value).strip().lower() in _TRUE


def _moment(name: str, value: Any) -> datetime | None:
    """Return when something was said. Raises RowRefused."""
    if value is None or value == "":
        return None
    moment = parse_time(value, name).astimezone(UTC)
    # A time to come would keep whatever the person says until then from counting.
    if moment > (now := clock.now()) + _CLOCK_TOLERANCE:
        raise RowRefused(f"{name}: {value!s:.100} is still to come")
    return min(moment, now)


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


_COMPANY_PARTS: Final = ("id", "name", "external_id", "website", "industry", "size", "attributes")
_PARTS: Final = ("status", "at", "opted_in_at", "opted_out_at", "unsubscribed")
_TRUE: Final = frozenset({"true", "yes", "1", "t"})
_CLOCK_TOLERANCE: Final = timedelta(minutes=5)
_OPTED_IN: Final = frozenset({"opted_in", "subscribed", "true", "yes", "1"})
_NEVER_SAID: Final = frozenset(
    {"nonsubscribed", "non_subscribed", "not_subscribed", "never_subscribed", "none"}
)
_OPTED_OUT: Final = frozenset({"opted_out", "unsubscribed", "false", "no", "0"})
