"""Omnisend's bodies: the checks of `track`, and what its body means in the core's terms."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rest_framework import serializers

from config.values.datetimes import parse_timestamp
from contacts.identifiers import normalize_identifier
from contacts.references import ContactChanges, ContactReference
from dialects.body_checks import (
    Check,
    FieldProblem,
    described,
    form,
    is_timestamp,
    listed,
    optional,
    record,
    schema_of,
    text,
)
from dialects.omnisend.errors import InvalidTrack
from dialects.omnisend.mapping import (
    ATTRIBUTE_FIELDS,
    ATTRIBUTE_LENGTHS,
    CHANNELS,
    CONSENT_LISTS,
    ID_FIELDS,
    IDENTIFIER_FIELDS,
    NAME_LENGTHS,
    PROOF_FIELDS,
)
from events.stream.coercion import is_date
from events.stream.types import IncomingEvent

MAX_PROPERTIES = 100
MAX_NAME_LENGTH = 128
MAX_TEXT_LENGTH = 2048

_NAME = re.compile(r"[A-Za-z0-9_]+")
_E164 = re.compile(r"\+[1-9][0-9]{1,14}")


class _EventForm(NamedTuple):
    """The checks of an event's body: with its contact, and with identifiers beside `eventName`."""

    with_contact: Check
    with_identity: Check


def parse_track(body: dict[str, Any]) -> IncomingEvent:
    """Return the event that a body describes. Raises InvalidTrack with every problem of its shape."""
    return _parse(body, _TRACK)


def parse_event(body: dict[str, Any]) -> IncomingEvent:
    """Return the event that a v5 body describes: properties may be nested. Raises InvalidTrack."""
    return _parse(body, _CUSTOMER_EVENT)


def parse_old_event(body: dict[str, Any], name: str | None = None) -> IncomingEvent:
    """Return the event that a v3 body describes; `name`: of the custom event that the address names.

    Raises InvalidTrack.
    """
    sent = {new: body[old] for old, new in _OLD_NAMES.items() if body.get(old) is not None}
    sent["eventName"] = name or body.get("systemName") or body.get("name")
    return _parse(sent, _TRACK)


def _parse(body: dict[str, Any], form_: _EventForm) -> IncomingEvent:
    problems = [*_problems(body, form_)]
    if problems:
        raise InvalidTrack(problems)
    contact = _contact_of(body)
    return IncomingEvent(
        name=body["eventName"].strip(),
        contact=_reference(contact),
        # A null says nothing: it neither has nor defines a type (O7).
        properties={
            name: value for name, value in (body.get("properties") or {}).items() if value is not None
        },
        occurred_at=parse_timestamp(body.get("eventTime")),
        message_id=(body.get("eventID") or "").strip(),
    )


def _email(value: str) -> str | None:
    return normalize_identifier("email", value) if len(value) <= 320 else None


def _not_removable(check: Check, hint: str) -> Check:
    """Refuse null, which removes a value, for a value that cannot be removed."""

    def check_value(path: str, value: Any) -> Iterator[FieldProblem]:
        if value is None:
            yield FieldProblem(path, "unsupported_type", f"cannot be removed here; {hint}")
        else:
            yield from check(path, value)

    return described(check_value, schema_of(check))


def named(check_value: Check, max_properties: int | None = None) -> Check:
    """Demand an object whose members have names that a property may have, and pass."""

    def check(path: str, value: Any) -> Iterator[FieldProblem]:
        if not isinstance(value, dict):
            yield FieldProblem(path, "unsupported_type", "must be an object")
            return
        if max_properties is not None and len(value) > max_properties:
            yield FieldProblem(path, "too_many", f"must have at most {max_properties} properties")
        for name, member in value.items():
            field = f"{path}.{name}"
            if len(name) > MAX_NAME_LENGTH:
                yield FieldProblem(
                    field, "too_long", f"the name must have at most {MAX_NAME_LENGTH} characters"
                )
            if not _NAME.fullmatch(name):
                yield FieldProblem(
                    field, "invalid_name", "the name may have Latin letters, digits and _ only"
                )
            yield from check_value(field, member)

    names = {"pattern": f"^{_NAME.pattern[:-1]}{{1,{MAX_NAME_LENGTH}}}$"}
    schema = {"type": "object", "propertyNames": names, "additionalProperties": schema_of(check_value)}
    return described(check, schema if max_properties is None else {**schema, "maxProperties": max_properties})


def scalar(path: str, value: Any) -> Iterator[FieldProblem]:
    """Demand a string of a bounded length, a number, true, false or null."""
    if isinstance(value, dict | list):
        yield FieldProblem(path, "unsupported_type", "objects and arrays are not supported")
    elif isinstance(value, str) and len(value) > MAX_TEXT_LENGTH:
        yield FieldProblem(path, "too_long", f"must have at most {MAX_TEXT_LENGTH} characters")


_SCALAR = {"type": ["string", "number", "boolean", "null"], "maxLength": MAX_TEXT_LENGTH}
described(scalar, _SCALAR)


def _custom_property(path: str, value: Any) -> Iterator[FieldProblem]:
    name = path.rpartition(".")[2]
    if name in ATTRIBUTE_FIELDS:
        yield FieldProblem(path, "invalid_name", "is a field of the contact itself")
    yield from scalar(path, value)


described(_custom_property, _SCALAR)
_CONSENT = record(
    {
        "channel": form(CHANNELS.get, f"must be one of {', '.join(CHANNELS)}", enum=[*CHANNELS]),
        "createdAt": optional(form(is_timestamp, "must be an RFC 3339 time", format="date-time")),
        "source": optional(text(255)),
        "ip": optional(text(64)),
        "userAgent": optional(text(MAX_TEXT_LENGTH)),
    },
    required=("channel",),
)
_KEEP_IDENTIFIER = "leave it out"
_IDENTITY: dict[str, Check] = {
    **{name: optional(text()) for name in ID_FIELDS},
    "email": _not_removable(
        form(_email, "must be an email address", example="jane@example.com"), _KEEP_IDENTIFIER
    ),
    **{
        name: _not_removable(
            form(
                _E164.fullmatch,
                "must be a phone number in E.164 form: + and up to 15 digits",
                pattern=f"^{_E164.pattern}$",
            ),
            _KEEP_IDENTIFIER,
        )
        for name in ("phoneNumber", "phone")
    },
}
CONTACT_FIELDS: dict[str, Check] = {
    **{name: optional(text(length)) for name, length in (NAME_LENGTHS | ATTRIBUTE_LENGTHS).items()},
    "gender": optional(form(("m", "f").__contains__, "must be m or f", enum=["m", "f"])),
    "birthdate": optional(form(is_date, "must be a date, YYYY-MM-DD", format="date")),
}
"""Names and attributes of a contact, wherever it is sent."""
_CONTACT = record(
    {
        **_IDENTITY,
        **CONTACT_FIELDS,
        "tags": optional(listed(text(255, is_blank_allowed=False), 100)),
        "customProperties": _not_removable(named(_custom_property), "name the properties to remove"),
        **{
            name: _not_removable(listed(_CONSENT, max_items), "send optOuts")
            for name, (max_items, _) in CONSENT_LISTS.items()
        },
    }
)
_EVENT: dict[str, Check] = {
    "eventName": text(255, is_blank_allowed=False),
    "properties": optional(named(scalar, MAX_PROPERTIES)),
    "eventTime": optional(
        form(
            is_timestamp,
            "must be an RFC 3339 time, or YYYY-MM-DD HH:MM:SS±HH:MM",
            format="date-time",
        )
    ),
    "eventID": optional(text(255)),
}


def _event_form(event: dict[str, Check]) -> _EventForm:
    return _EventForm(
        record(event | {"contact": optional(_CONTACT)}, required=("eventName",)),
        record(event | _IDENTITY | {"contact": optional(_CONTACT)}, required=("eventName",)),
    )


_CUSTOM = _EVENT | {"properties": optional(record({}))}
_TRACK, _CUSTOMER_EVENT = _event_form(_EVENT), _event_form(_CUSTOM)
# Identifiers beside `eventName` are taken too (O1), but the document says where they belong.
BODY_SCHEMA = schema_of(record(_EVENT | {"contact": _CONTACT}, required=("eventName", "contact")))
EVENT_SCHEMA = schema_of(record(_CUSTOM | {"contact": _CONTACT}, required=("eventName", "contact")))
OLD_EVENT_SCHEMA = schema_of(
    record(
        {
            **{name: optional(text(255)) for name in ("name", "systemName")},
            **{name: _IDENTITY[name] for name in ("email", "phone", "contactID")},
            "fields": _EVENT["properties"],
        }
    )
)
_OLD_NAMES = {"email": "email", "phone": "phone", "contactID": "contactID", "fields": "properties"}


def _problems(body: dict[str, Any], form_: _EventForm) -> Iterator[FieldProblem]:
    contact = body.get("contact")
    if contact is not None and not isinstance(contact, dict):
        yield from form_.with_contact("", body)
    elif contact is not None and _identifies(contact):
        yield from form_.with_contact("", body)
        yield from _conflicts(contact, "contact.")
        yield from _contradictions(body, contact)
        yield from _problems_of_consent(contact)
    else:
        yield from form_.with_identity("", body)
        if not _identifies(body):
            yield FieldProblem("contact", "required", "id, email or phoneNumber is required")
        yield from _conflicts(body, "")
        yield from _problems_of_consent(contact or {})


def _identifies(contact: dict[str, Any]) -> bool:
    # What is there but malformed has its own problem already.
    return any(map(_is_given, map(contact.get, (*ID_FIELDS, *IDENTIFIER_FIELDS))))


def _conflicts(contact: dict[str, Any], prefix: str) -> Iterator[FieldProblem]:
    for first, second in (ID_FIELDS, ("phoneNumber", "phone")):
        first_value, second_value = contact.get(first), contact.get(second)
        if None not in (first_value, second_value) and first_value != second_value:
            yield FieldProblem(prefix + second, "conflict", f"differs from {first}")


def _contradictions(body: dict[str, Any], contact: dict[str, Any]) -> Iterator[FieldProblem]:
    """Yield a problem for each identifier beside the contact that differs from the contact's own."""
    for name, kind in IDENTIFIER_FIELDS.items():
        beside, inside = body.get(name), contact.get(name)
        if (
            isinstance(beside, str)
            and isinstance(inside, str)
            and normalize_identifier(kind, beside) != normalize_identifier(kind, inside)
        ):
            yield FieldProblem(name, "conflict", f"differs from contact.{name}")


def _is_given(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None


def _problems_of_consent(contact: dict[str, Any]) -> Iterator[FieldProblem]:
    statuses: dict[str, str] = {}
    for path, entry, status in _consents(contact):
        if statuses.setdefault(entry["channel"], status) != status:
            yield FieldProblem(f"{path}.channel", "conflict", "is both opted in and opted out")


def _consents(contact: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield path, entry and status of each well-formed consent, with the channel that the core knows."""
    for name, (_, status) in CONSENT_LISTS.items():
        entries = contact.get(name)
        for index, entry in enumerate(entries if isinstance(entries, list) else []):
            sent = entry.get("channel") if isinstance(entry, dict) else None
            if isinstance(sent, str) and sent in CHANNELS:
                yield f"contact.{name}[{index}]", {**entry, "channel": CHANNELS[sent]}, status


def _contact_of(body: dict[str, Any]) -> dict[str, Any]:
    """Return the contact; where it has no identity, with the identifiers beside `eventName` (O1)."""
    contact: dict[str, Any] = body.get("contact") or {}
    if _identifies(contact):
        return contact
    return contact | {name: body[name] for name in _IDENTITY if name in body}


def _reference(contact: dict[str, Any]) -> ContactReference:
    identifiers = {kind: contact[name] for name, kind in IDENTIFIER_FIELDS.items() if contact.get(name)}
    contact_id = next((contact[name].strip() for name in ID_FIELDS if contact.get(name)), "")
    return ContactReference(
        id=contact_id or None,
        identifiers=tuple(identifiers.items()),
        if_missing="create" if identifiers else "refuse",
        update_matched=True,
        changes=changes_of(contact),
        id_falls_back=bool(identifiers),
    )


def changes_of(contact: dict[str, Any]) -> ContactChanges:
    """Return what a checked contact sets."""
    attributes = {name: contact[name] for name in ATTRIBUTE_FIELDS if name in contact}
    attributes |= contact.get("customProperties", {})
    consents = list(_consents(contact))
    for _, entry, status in consents:
        if proof := {name: entry[name] for name in PROOF_FIELDS if entry.get(name) is not None}:
            attributes[f"{entry['channel']}Consent"] = {"status": status, **proof}
    return ContactChanges(
        first_name=_name(contact, "firstName"),
        last_name=_name(contact, "lastName"),
        attributes=attributes,
        tags=tuple(dict.fromkeys(tag.strip() for tag in contact.get("tags") or [])),
        consents={entry["channel"]: status for _, entry, status in consents},
        clear_tags="tags" in contact and contact["tags"] is None,
    )


def _name(contact: Mapping[str, Any], name: str) -> str | None:
    """Return a name as the core takes it: null empties it, an absent name stays."""
    if name not in contact:
        return None
    return (contact[name] or "").strip()


class FieldProblemSerializer(serializers.Serializer[Any]):
    """What is wrong with a field."""

    field = serializers.CharField()
    code = serializers.CharField()
    message = serializers.CharField()


class OmnisendProblemSerializer(serializers.Serializer[Any]):
    """A refusal (RFC 9457); `errors` of a 400 lists every problem."""

    type = serializers.URLField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    instance = serializers.CharField()
    errors: Any = FieldProblemSerializer(many=True, required=False)
    retryAfter = serializers.IntegerField(required=False)
