"""Bodies of contacts, of v3 and v5 alike: what is sent, and what is answered."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from config import clock
from config.http.rendering import iso_seconds
from config.values.datetimes import parse_timestamp
from contacts.identifiers import normalize_identifier
from contacts.models import Consent, Contact
from contacts.references import ContactChanges, ContactReference, PastConsent
from dialects.body_checks import (
    Check,
    FieldProblem,
    boolean,
    described,
    either,
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
    IDENTIFIER_CHANNELS,
    PROOF_FIELDS,
    STATUS_OF_CONSENT,
    STATUSES,
)
from dialects.omnisend.serializers import CONTACT_FIELDS, changes_of, named, scalar
from events.stream.coercion import is_date

MAX_IDENTIFIERS = 20
MAX_TAGS = 100
MAX_SELECTED = 250
"""Contacts that one request tags, by each kind of selector."""
_MAX_LISTED = 100

# What time stands behind a day where a client has no type for days.
_MIDNIGHT = re.compile(r"[T ]00:00:00(?:\.0+)?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)

_TIMESTAMP = optional(form(is_timestamp, "must be an RFC 3339 time", format="date-time"))
_STATUS = form(STATUSES.__contains__, f"must be one of {', '.join(STATUSES)}", enum=[*STATUSES])
_CHANNEL = record({"status": optional(_STATUS), "statusDate": _TIMESTAMP, "statusChangedAt": _TIMESTAMP})
_PROOF = record({"createdAt": _TIMESTAMP, **{name: optional(text(2048)) for name in PROOF_FIELDS[1:]}})
_IDENTIFIER = record(
    {
        "type": form(
            IDENTIFIER_CHANNELS.get,
            f"must be one of {', '.join(IDENTIFIER_CHANNELS)}",
            enum=[*IDENTIFIER_CHANNELS],
        ),
        "id": text(320, is_blank_allowed=False),
        "channels": optional(record(dict.fromkeys(IDENTIFIER_CHANNELS.values(), optional(_CHANNEL)))),
        "consent": optional(_PROOF),
        "sendWelcomeMessage": optional(boolean),
    },
    required=("type", "id"),
)
_TAGS = listed(text(255, is_blank_allowed=False), MAX_TAGS)


def _scalar_or_list(path: str, value: Any) -> Iterator[FieldProblem]:
    items = value if isinstance(value, list) else [value]
    if len(items) > _MAX_LISTED:
        yield FieldProblem(path, "too_many", f"must have at most {_MAX_LISTED} items")
    for item in items:
        yield from scalar(path, item)


described(_scalar_or_list, {})


def _day(text: str) -> str | None:
    """Return the day that a text names, with midnight behind it or without."""
    day, rest = text[:10], text[10:]
    return day if is_date(day) and (not rest or _MIDNIGHT.fullmatch(rest)) else None


_CONTACT = record(
    {
        "identifiers": optional(listed(_IDENTIFIER, MAX_IDENTIFIERS)),
        # As v3 had them first.
        "email": optional(text(320)),
        # As a list it is answered.
        "phone": optional(either(list, listed(text(64), MAX_IDENTIFIERS), text(64))),
        "status": optional(_STATUS),
        "statusDate": _TIMESTAMP,
        "optInDate": optional(text(64)),
        "optInIP": optional(text(64)),
        **CONTACT_FIELDS,
        "birthdate": optional(form(_day, "must be a date, YYYY-MM-DD", format="date")),
        "tags": optional(_TAGS),
        "customProperties": optional(named(_scalar_or_list)),
    }
)
CONTACT_SCHEMA = schema_of(_CONTACT)
IDENTIFIER_SCHEMA = schema_of(_IDENTIFIER)
_TAG = record({"tag": optional(text(255, is_blank_allowed=False)), "tags": optional(_TAGS)})
TAG_SCHEMA = schema_of(_TAG)
_SELECTORS = {"contactIDs": None, "emails": "email", "phones": "phone"}


def _no_segment(path: str, value: Any) -> Iterator[FieldProblem]:
    if value is not None:
        yield FieldProblem(path, "unsupported_type", "is not supported here: name the contacts")


_SELECTION = record(
    {
        "tags": _TAGS,
        "segmentID": described(_no_segment, {"type": "null"}),
        **{name: optional(listed(text(320), MAX_SELECTED)) for name in _SELECTORS},
    },
    required=("tags",),
)
SELECTION_SCHEMA = schema_of(_SELECTION)


class ChannelAnswer(msgspec.Struct, rename="camel"):
    """Whether a contact may be written to on a channel, and since when it says so; both names are in use."""

    status: str
    status_date: str | None
    status_changed_at: str | None


class IdentifierAnswer(msgspec.Struct):
    """An address or a number of a contact."""

    type: str
    id: str
    channels: dict[str, ChannelAnswer]


class ContactAnswer(msgspec.Struct, kw_only=True, rename="camel"):
    """A contact; v3 and v5 call its id `contactID`, later versions `id`."""

    contact_id: str = msgspec.field(name="contactID")
    id: str
    identifiers: list[IdentifierAnswer]
    email: str | None
    status: str
    first_name: str
    last_name: str
    tags: list[str]
    custom_properties: dict[str, Any]
    created_at: str
    updated_at: str
    address: Any
    city: Any
    state: Any
    country: Any
    country_code: Any
    postal_code: Any
    birthdate: Any
    # Left out where there is none: some clients know no empty list and no null here.
    phone: list[str] | msgspec.UnsetType = msgspec.UNSET
    phone_number: str | msgspec.UnsetType = msgspec.UNSET
    gender: Any = msgspec.UNSET


class Selection(NamedTuple):
    """Whom a request tags."""

    references: list[ContactReference]
    tags: tuple[str, ...]


def parse_contact(body: Any) -> ContactReference:
    """Return the contact that a body describes, to be made if nobody is known by its identifiers.

    Raises InvalidTrack with every problem, and where nothing identifies it.
    """
    sent = _checked(_CONTACT, body, _problems_of_identifiers)
    identifiers = _identifiers(sent)
    if not identifiers:
        raise InvalidTrack([FieldProblem("identifiers", "required", "an email or a phone is required")])
    return ContactReference(
        identifiers=identifiers, if_missing="create", update_matched=True, changes=_changes(sent)
    )


def parse_contact_changes(body: Any, *, keep_email: bool = False) -> ContactChanges:
    """Return what a body sets; `keep_email` leaves the e-mail addresses out, as v3 does. Raises InvalidTrack."""
    sent = _checked(_CONTACT, body, _problems_of_identifiers)
    identifiers = tuple(each for each in _identifiers(sent) if not (keep_email and each[0] == "email"))
    return msgspec.structs.replace(_changes(sent, of_known=True), identifiers=identifiers)


def parse_identifier(body: Any) -> ContactChanges:
    """Return what adds an identifier with what it says of its channels. Raises InvalidTrack."""
    sent = {"identifiers": [body]}
    _checked(_IDENTIFIER, body, lambda body: _problems_of_identifiers({"identifiers": [body]}))
    return msgspec.structs.replace(_changes(sent), identifiers=_identifiers(sent))


def parse_tags(body: Any) -> tuple[str, ...]:
    """Return the tags of a body: `tag`, or `tags`. Raises InvalidTrack."""
    sent = _checked(_TAG, body)
    tags = [*(sent.get("tags") or []), *([sent["tag"]] if sent.get("tag") else [])]
    if not tags:
        raise InvalidTrack([FieldProblem("tag", "required", "is required")])
    return _unique(tags)


def parse_selection(body: Any) -> Selection:
    """Return tags, and the contacts that they are for. Raises InvalidTrack."""
    sent = _checked(_SELECTION, body)
    references = [
        ContactReference(id=value) if kind is None else ContactReference(identifiers=((kind, value),))
        for name, kind in _SELECTORS.items()
        for value in sent.get(name) or []
    ]
    problems = [] if references else [FieldProblem("contactIDs", "required", "contactIDs, emails or phones")]
    if not sent["tags"]:
        problems.append(FieldProblem("tags", "required", "must not be empty"))
    if problems:
        raise InvalidTrack(problems)
    return Selection(references, _unique(sent["tags"]))


def render_contact(contact: Contact) -> dict[str, Any]:
    """Return a contact, loaded with its details."""
    known = [each for each in contact.known_identifiers if each.kind in IDENTIFIER_CHANNELS]
    known.sort(key=lambda each: (not each.is_primary, each.id))
    channels = {each.channel: each for each in contact.known_consents}
    attributes = contact.attributes
    proofs = {f"{channel}Consent" for channel in channels}
    answer = ContactAnswer(
        contact_id=str(contact.id),
        id=str(contact.id),
        identifiers=[
            IdentifierAnswer(each.kind, each.value, _channel(channels, IDENTIFIER_CHANNELS[each.kind]))
            for each in known
        ],
        email=contact.email,
        phone=[each.value for each in known if each.kind == "phone"] or msgspec.UNSET,
        phone_number=contact.phone or msgspec.UNSET,
        status=STATUS_OF_CONSENT[contact.consent("email")],
        first_name=contact.first_name,
        last_name=contact.last_name,
        tags=contact.tag_names,
        custom_properties={
            name: value
            for name, value in attributes.items()
            if name not in ATTRIBUTE_FIELDS and name not in proofs
        },
        created_at=iso_seconds(contact.created_at),
        updated_at=iso_seconds(contact.updated_at),
        address=attributes.get("address"),
        city=attributes.get("city"),
        state=attributes.get("state"),
        country=attributes.get("country"),
        country_code=attributes.get("countryCode"),
        postal_code=attributes.get("postalCode"),
        gender=attributes.get("gender") or msgspec.UNSET,
        birthdate=attributes.get("birthdate"),
    )
    rendered: dict[str, Any] = msgspec.to_builtins(answer)
    return rendered


def _channel(consents: dict[str, Any], channel: str) -> dict[str, ChannelAnswer]:
    consent = consents.get(channel)
    since = None if consent is None else iso_seconds(consent.changed_at)
    return {channel: ChannelAnswer(STATUS_OF_CONSENT[consent and consent.status], since, since)}


def _checked(check: Check, body: Any, *more: Any) -> dict[str, Any]:
    problems = [*check("", body)]
    for find in more:
        problems += [] if problems else find(body)
    if problems:
        raise InvalidTrack(problems)
    sent: dict[str, Any] = body
    return sent


def _sent_identifiers(sent: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield path and identifier, v3's flat ones as if they were listed."""
    for index, identifier in enumerate(sent.get("identifiers") or []):
        yield f"identifiers[{index}].id", identifier
    if sent.get("email"):
        yield "email", {"type": "email", "id": sent["email"]}
    phones = sent.get("phone") or []
    for index, phone in enumerate(phones if isinstance(phones, list) else [phones]):
        yield f"phone[{index}]" if isinstance(phones, list) else "phone", {"type": "phone", "id": phone}


def _problems_of_identifiers(sent: dict[str, Any]) -> list[FieldProblem]:
    return [
        FieldProblem(path, "invalid_format", f"must be {_MEANT[identifier['type']]}")
        for path, identifier in _sent_identifiers(sent)
        if normalize_identifier(identifier["type"], identifier["id"]) is None
    ]


_MEANT = {"email": "an email address", "phone": "a phone number with its country, such as +15551234567"}


def _identifiers(sent: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    found = [(identifier["type"], identifier["id"]) for _, identifier in _sent_identifiers(sent)]
    # E-mail first: it decides who is meant.
    return tuple(sorted(dict.fromkeys(found), key=lambda each: each[0] != "email"))


def _changes(sent: dict[str, Any], *, of_known: bool = False) -> ContactChanges:
    """Return what a body says of a contact, and the consents of its identifiers.

    `of_known`: the contact is there, with an address perhaps that the body does not repeat.
    """
    consents: dict[str, str] = {}
    past: dict[str, PastConsent] = {}
    proofs: dict[str, dict[str, Any]] = {}
    for said in _said_of_channels(sent, of_known=of_known):
        channel, status = said.channel, STATUSES.get(said.status or "")
        if channel not in IDENTIFIER_CHANNELS.values() or status is None or channel in {*consents, *past}:
            continue
        if said.date is None:
            consents[channel] = status
        else:
            past[channel] = PastConsent(status, _moment_of(said.date, status))
        if said.proof:
            proofs[f"{channel}Consent"] = {"status": status, **said.proof}
    day = {"birthdate": _day(sent["birthdate"])} if sent.get("birthdate") else {}
    changes = changes_of(
        {
            **sent,
            **day,
            "customProperties": sent.get("customProperties") or {},
            "consents": [],
            "optIns": [],
            "optOuts": [],
        }
    )
    return msgspec.structs.replace(
        changes, attributes={**changes.attributes, **proofs}, consents=consents, past_consents=past
    )


class _Said(NamedTuple):
    """A channel's status, when it changed to that, and what proves it."""

    channel: str
    status: str | None
    date: str | None
    proof: dict[str, Any]


def _said_of_channels(sent: dict[str, Any], *, of_known: bool) -> Iterator[_Said]:
    """Yield what is said of channels by identifiers, then by the contact's own status, which is that of e-mail."""
    identifiers = [identifier for _, identifier in _sent_identifiers(sent)]
    for identifier in identifiers:
        for channel, said in (identifier.get("channels") or {}).items():
            date = (said or {}).get("statusDate") or (said or {}).get("statusChangedAt")
            proof = {"createdAt": date, **(identifier.get("consent") or {})}
            yield _Said(channel, (said or {}).get("status"), date, _proof(proof))
    if of_known or any(identifier["type"] == "email" for identifier in identifiers):
        date = sent.get("statusDate")
        proof = {"createdAt": sent.get("optInDate") or date, "ip": sent.get("optInIP")}
        yield _Said("email", sent.get("status"), date, _proof(proof))


def _moment_of(date: str, status: str) -> datetime:
    """Return when a status was said: now at the latest, and an opt-out at the end of the second that is named.

    Answers name seconds: an opt-out that is put into one and sent back is newer than the opt-in that it was told of.
    """
    moment = parse_timestamp(date)
    assert moment is not None  # noqa: S101  # it was checked
    if status == Consent.Status.OPTED_OUT and not moment.microsecond:
        moment += timedelta(microseconds=999_999)
    return min(moment, clock.now())


def _proof(said: dict[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in PROOF_FIELDS if said.get(name) is not None}


def _unique(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag.strip() for tag in tags))
