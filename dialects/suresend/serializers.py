"""Sure Send's bodies and answers; the frequent ones are read and written without a serializer.

The parser kit and the answers' structs are what the OpenAPI document says.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType
from rest_framework import serializers

from config.http.rendering import iso_millis
from config.values.datetimes import parse_timestamp
from contacts.identifiers import normalize_identifier
from contacts.models import Company
from contacts.references import CompanyReference, ContactChanges, ContactReference
from dialects.body_checks import (
    Check,
    FieldProblem,
    boolean,
    described,
    either,
    form,
    is_timestamp,
    listed,
    number,
    optional,
    record,
    schema_of,
    text,
)
from dialects.suresend.errors import InvalidBody
from dialects.suresend.mapping import (
    CONTEXT_OF_FIELD,
    FLAT_IDENTIFIERS,
    FLAT_NAMES,
    IDENTIFIER_LISTS,
    PERSON_ATTRIBUTES,
    PROPERTY_BLOCKS,
)
from events.stream.types import IncomingEvent, RecordedEvent

_MOST_IDENTIFIERS = 100


def parse_event(body: dict[str, Any]) -> IncomingEvent:
    """Return what `body` says. Raises InvalidBody with every problem of its shape."""
    person = _person(body)
    problems = [*_BODY("", body), *_problems_of_person(body, person), *_problems_of_company(body)]
    if problems:
        raise InvalidBody(problems)
    return IncomingEvent(
        name=body["type"].strip(),
        contact=_reference(body, person),
        properties={name: body[name] for name in PROPERTY_BLOCKS if body.get(name) is not None},
        context={key: body[name] for name, key in CONTEXT_OF_FIELD.items() if body.get(name) is not None},
        occurred_at=_moment(body.get("occurredAt")),
        company=_company(body.get("company")),
    )


def parse_person(body: dict[str, Any]) -> ContactReference:
    """Return the person that `body` is, or has as its `person`. Raises InvalidBody."""
    whole = _lone_person(body)
    return _reference({}, whole)


def parse_person_changes(body: dict[str, Any]) -> ContactChanges:
    """Return what `body` changes of a person; null removes an attribute or a name. Raises InvalidBody."""
    person = _lone_person(body, is_change=True)
    changes = _changes(person)
    removed = {name: None for name in PERSON_ATTRIBUTES if name in person and person[name] is None}
    return msgspec.structs.replace(
        changes,
        first_name=changes.first_name if {"firstName", "name"} & person.keys() else None,
        last_name=changes.last_name if {"lastName", "name"} & person.keys() else None,
        # The last one given becomes the primary one of its kind.
        identifiers=tuple(reversed(_values(person))),
        attributes={**changes.attributes, **removed},
    )


def parse_tags(body: dict[str, Any]) -> tuple[str, ...]:
    """Return the tags of `body`. Raises InvalidBody."""
    if problems := list(_TAGS("", body)):
        raise InvalidBody(problems)
    return tuple(dict.fromkeys(tag.strip() for tag in body["tags"]))


def _lone_person(body: dict[str, Any], *, is_change: bool = False) -> dict[str, Any]:
    """Return the person of a body that is one, or wraps one. Raises InvalidBody."""
    wrapped = body.get("person")
    sent = body if wrapped is None else wrapped
    person = _person({"person": sent})
    problems = [*optional(_PERSON)("" if wrapped is None else "person", sent)]
    if not is_change:
        problems += _problems_of_person({"person": sent}, person)
    if problems:
        raise InvalidBody(problems)
    assert isinstance(person, dict)  # noqa: S101  # the check has told of anything else
    return person


def _email(value: str) -> str | None:
    return normalize_identifier("email", value) if len(value) <= 320 else None


def _phone(value: str) -> str | None:
    return normalize_identifier("phone", value) if len(value) <= 64 else None


def _entry(value_check: Check) -> Check:
    as_object = record(
        {"value": value_check, "type": optional(text(64)), "isPrimary": optional(boolean)},
        required=("value",),
    )
    return either(str, value_check, as_object)


def _flat(entry: Check) -> Check:
    """Let null and a blank pass: forms send the field that nobody filled in."""

    def check_unless_blank(path: str, value: Any) -> Iterator[FieldProblem]:
        if _is_sent(value):
            yield from entry(path, value)

    return described(check_unless_blank, schema_of(optional(entry)))


def _is_sent(value: Any) -> bool:
    return value is not None and not (isinstance(value, str) and not value.strip())


def _filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


_NAME = optional(text(255))
_EMAIL = _entry(form(_email, "must be an email address"))
_PHONE = _entry(form(_phone, "must be a phone number"))
_FLAT: dict[str, Check] = {"email": _flat(_EMAIL), "phone": _flat(_PHONE)}
_ANY_TEXT = optional(text())
_NUMBER = optional(number)
_PERSON = record(
    {
        "firstName": _NAME,
        "lastName": _NAME,
        "name": _NAME,
        "emails": optional(listed(_EMAIL, _MOST_IDENTIFIERS)),
        "phones": optional(listed(_PHONE, _MOST_IDENTIFIERS)),
        **_FLAT,
        "companyName": _NAME,
        "stage": _NAME,
        "source": _NAME,
        "tags": optional(listed(text(255, is_blank_allowed=False), 100)),
        "addresses": optional(listed(either(str, text(), record({})), 100)),
        "assignedUserId": optional(either(str, text(255), number)),
        "averagePrice": _NUMBER,
    }
)
_COMPANY = record(
    {
        "id": _ANY_TEXT,
        "name": _NAME,
        "website": optional(text(2048)),
        "industry": _NAME,
        "companySize": optional(text(64)),
    }
)
_PROPERTY = record(
    {
        "id": optional(either(str, text(), number)),
        "address": _ANY_TEXT,
        "price": _NUMBER,
        "beds": _NUMBER,
        "baths": _NUMBER,
        "sqft": _NUMBER,
        "url": _ANY_TEXT,
        "imageUrl": _ANY_TEXT,
    }
)
_PROPERTY_SEARCH = record(
    {
        "minPrice": _NUMBER,
        "maxPrice": _NUMBER,
        "beds": _NUMBER,
        "location": _ANY_TEXT,
        "propertyType": _ANY_TEXT,
    }
)
_BODY = record(
    {
        "type": text(255, is_blank_allowed=False),
        "personId": _ANY_TEXT,
        "person": optional(_PERSON),
        **_FLAT,
        "company": optional(_COMPANY),
        "pageUrl": _ANY_TEXT,
        "pageTitle": _ANY_TEXT,
        "pageReferrer": _ANY_TEXT,
        "pageDuration": _NUMBER,
        "property": optional(_PROPERTY),
        "propertySearch": optional(_PROPERTY_SEARCH),
        "message": _ANY_TEXT,
        "metadata": optional(record({})),
        "ipAddress": _ANY_TEXT,
        "userAgent": _ANY_TEXT,
        "occurredAt": optional(
            form(is_timestamp, "must be an ISO 8601 time with its zone", format="date-time")
        ),
    },
    required=("type",),
)
BODY_SCHEMA = schema_of(_BODY)
PERSON_SCHEMA = schema_of(_PERSON)
_TAGS = record({"tags": listed(text(255, is_blank_allowed=False), 100)}, required=("tags",))
TAGS_SCHEMA = schema_of(_TAGS)


_Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]


class EventAnswer(Struct, frozen=True, kw_only=True, rename="camel"):
    """A recorded event; what was not sent is null."""

    id: str
    event_type: str
    person_id: str | None
    company_id: str | None
    occurred_at: _Moment
    page_url: str | None
    page_title: str | None
    page_referrer: str | None
    page_duration: Annotated[float | None, Meta(description="in seconds")]
    property: Annotated[Any, Meta(extra_json_schema=schema_of(optional(_PROPERTY)))]
    property_search: Annotated[Any, Meta(extra_json_schema=schema_of(optional(_PROPERTY_SEARCH)))]
    message: str | None
    metadata: dict[str, Any] | None
    created_at: _Moment


class IdentifierAnswer(Struct, frozen=True, kw_only=True, rename="camel"):
    """An email address or a phone number of a person."""

    value: str
    type: str | None
    status: str
    is_primary: bool


class PersonAnswer(Struct, frozen=True, kw_only=True, rename="camel"):
    """A person; all is null or empty for who may not read it."""

    id: str | None
    first_name: str | None
    last_name: str | None
    name: str | None
    emails: Sequence[IdentifierAnswer]
    phones: Sequence[IdentifierAnswer]
    addresses: Sequence[str | dict[str, Any]]
    tags: Sequence[str]
    company_name: str | None
    stage: str | None
    source: str | None
    assigned_user_id: str | float | None
    average_price: float | None
    created_at: _Moment | None
    updated_at: _Moment | None


class CompanyAnswer(Struct, frozen=True, kw_only=True, rename="camel"):
    """A company; the vendor says `created`, not `createdAt`, here."""

    id: str
    name: str
    website: str | None
    industry: str | None
    company_size: str | None
    created: _Moment
    updated: _Moment


class SendAnswer(Struct, frozen=True, kw_only=True, rename="camel"):
    """A recorded event with its person, and its company where one was named."""

    event: EventAnswer
    person: PersonAnswer
    was_person_created: bool
    company: CompanyAnswer | UnsetType = UNSET
    was_company_created: bool | UnsetType = UNSET


UNTOLD_PERSON = PersonAnswer(
    id=None,
    first_name=None,
    last_name=None,
    name=None,
    emails=(),
    phones=(),
    addresses=(),
    tags=(),
    company_name=None,
    stage=None,
    source=None,
    assigned_user_id=None,
    average_price=None,
    created_at=None,
    updated_at=None,
)
"""A person as it looks to who may not read it."""


def render_event(event: RecordedEvent) -> EventAnswer:
    """Return the event as the answer shows it: with the page, not the visitor's machine (R14)."""
    context, sent = event.context, event.properties
    return EventAnswer(
        id=str(event.id),
        event_type=event.name,
        person_id=_id(event.survivor_id),
        company_id=_id(event.company_id),
        occurred_at=iso_millis(event.occurred_at),
        page_url=context.get(CONTEXT_OF_FIELD["pageUrl"]),
        page_title=context.get(CONTEXT_OF_FIELD["pageTitle"]),
        page_referrer=context.get(CONTEXT_OF_FIELD["pageReferrer"]),
        page_duration=context.get(CONTEXT_OF_FIELD["pageDuration"]),
        property=sent.get("property"),
        property_search=sent.get("propertySearch"),
        message=sent.get("message"),
        metadata=sent.get("metadata"),
        created_at=iso_millis(event.received_at),
    )


def render_person(person: dict[str, Any]) -> PersonAnswer:
    """Return a person as `persons` reads it."""
    attributes = person["attributes"]
    return PersonAnswer(
        id=str(person["id"]),
        first_name=person["first_name"] or None,
        last_name=person["last_name"] or None,
        name=f"{person['first_name']} {person['last_name']}".strip() or None,
        emails=_identifiers(person, *IDENTIFIER_LISTS["emails"]),
        phones=_identifiers(person, *IDENTIFIER_LISTS["phones"]),
        addresses=attributes.get("addresses") or (),
        tags=person["known_tags"],
        company_name=attributes.get("companyName"),
        stage=attributes.get("stage"),
        source=attributes.get("source"),
        assigned_user_id=attributes.get("assignedUserId"),
        average_price=attributes.get("averagePrice"),
        created_at=iso_millis(person["created_at"]),
        updated_at=iso_millis(person["updated_at"]),
    )


def render_company(company: Company) -> CompanyAnswer:
    """Return a company."""
    return CompanyAnswer(
        id=str(company.id),
        name=company.name,
        website=company.website or None,
        industry=company.industry or None,
        company_size=company.size or None,
        created=iso_millis(company.created_at),
        updated=iso_millis(company.updated_at),
    )


def _person(body: dict[str, Any]) -> Any:
    """Return the person with what is written flat among its lists; what is no object stays, for its problem."""
    person = body.get("person")
    if person is not None and not isinstance(person, dict):
        return person
    flat = [
        (name, level[key])
        for level in (person or {}, body)
        for key, name in FLAT_IDENTIFIERS.items()
        if _is_sent(level.get(key))
    ]
    if not flat:
        return person
    whole = dict(person or {})
    if not any(map(_filled, _names(whole))):
        whole |= {name: body[name] for name in FLAT_NAMES if _filled(body.get(name))}
    for name, entry in flat:
        listed_ones = whole.get(name)
        if listed_ones is None or isinstance(listed_ones, list):
            whole[name] = [*(listed_ones or []), entry]
    return whole


def _problems_of_person(body: dict[str, Any], person: Any) -> Iterator[FieldProblem]:
    person_id = body.get("personId")
    if person_id is not None and (not isinstance(person_id, str) or person_id.strip()):
        return
    if person is None:
        yield FieldProblem("person", "required_choice", "personId or person is required")
    elif isinstance(person, dict) and not (
        person.get("emails") or person.get("phones") or any(map(_filled, _names(person)))
    ):
        yield FieldProblem("person", "required", "needs an email, a phone or a name")
    elif isinstance(person, dict):
        for name in FLAT_NAMES:
            if name in person and name not in (body.get("person") or {}):
                yield from _NAME(name, person[name])


def _names(person: dict[str, Any]) -> list[Any]:
    return [person.get("firstName"), person.get("lastName"), person.get("name")]


def _problems_of_company(body: dict[str, Any]) -> Iterator[FieldProblem]:
    company = body.get("company")
    if isinstance(company, dict) and not any(
        # A value of another type has its own problem already.
        _filled(value) or (value is not None and not isinstance(value, str))
        for value in (company.get("id"), company.get("name"))
    ):
        yield FieldProblem("company", "required_choice", "company.id or company.name is required")


def _reference(body: dict[str, Any], person: Any) -> ContactReference:
    person_id = (body.get("personId") or "").strip()
    if person_id:
        # R1: the id is the strongest claim, and the person beside it changes nothing.
        return ContactReference(id=person_id)
    # One who has a name only is made each time (R7): there is nothing to match by.
    return ContactReference(identifiers=_values(person), if_missing="create", changes=_changes(person))


def _values(person: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(
        (kind, entry["value"])
        for name, (kind, _) in IDENTIFIER_LISTS.items()
        for entry in _primary_first(person.get(name) or [])
    )


def _primary_first(entries: list[Any]) -> list[dict[str, Any]]:
    """R8: the first that is marked leads, else the first."""
    rows = [{"value": entry} if isinstance(entry, str) else entry for entry in entries]
    lead = next((index for index, row in enumerate(rows) if row.get("isPrimary")), 0)
    return rows[lead : lead + 1] + rows[:lead] + rows[lead + 1 :]


def _changes(person: dict[str, Any]) -> ContactChanges:
    first, _, last = (person.get("name") or "").strip().partition(" ")
    attributes = {name: person[name] for name in PERSON_ATTRIBUTES if person.get(name) is not None}
    for name, (kind, attribute) in IDENTIFIER_LISTS.items():
        if types := _types(kind, person.get(name) or []):
            attributes[attribute] = types
    return ContactChanges(
        first_name=(person.get("firstName") or first).strip(),
        last_name=(person.get("lastName") or last).strip(),
        attributes=attributes,
        tags=tuple(dict.fromkeys(tag.strip() for tag in person.get("tags") or [])),
    )


def _types(kind: str, entries: list[Any]) -> dict[str, str]:
    """Return the type of each identifier that has one, by its normalised value."""
    return {
        value: entry["type"]
        for entry in reversed(entries)
        if isinstance(entry, dict)
        and entry.get("type") is not None
        and (value := normalize_identifier(kind, entry["value"])) is not None
    }


def _company(company: dict[str, Any] | None) -> CompanyReference | None:
    if company is None:
        return None
    return CompanyReference(
        id=(company.get("id") or "").strip() or None,
        name=company.get("name"),
        website=company.get("website"),
        industry=company.get("industry"),
        size=company.get("companySize"),
    )


def _moment(text_: str | None) -> datetime | None:
    return None if text_ is None else parse_timestamp(text_)


def _id(value: object) -> str | None:
    return None if value is None else str(value)


def _identifiers(person: dict[str, Any], kind: str, types_attribute: str) -> list[IdentifierAnswer]:
    types = person["attributes"].get(types_attribute)
    known = types if isinstance(types, dict) else {}
    rows = [row for row in person["known_identifiers"] if row["kind"] == kind]
    return [
        # The first comes first because it is primary: each merged contact has a primary one too.
        IdentifierAnswer(
            value=row["value"],
            type=known.get(row["value"]),
            status="active",
            is_primary=row["is_primary"] and place == 0,
        )
        for place, row in enumerate(rows)
    ]


class SureSendErrorSerializer(serializers.Serializer[Any]):
    """A refusal; `errors` has the messages by the path of their field."""

    error = serializers.CharField()
    errors = serializers.DictField(  # type: ignore[assignment]  # the field's name
        child=serializers.ListField(child=serializers.CharField()), required=False
    )
