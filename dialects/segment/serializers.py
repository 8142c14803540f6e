"""Bodies of this format, and what a call means in the core's terms."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from rest_framework import serializers

from config.http.rendering import dumps
from config.values.datetimes import parse_timestamp
from contacts.identifiers import MAX_LENGTH, normalize_identifier
from contacts.models import Identifier
from contacts.references import CompanyReference, ContactChanges, ContactReference, MergeScope
from dialects.body_checks import (
    Check,
    FieldProblem,
    described,
    form,
    listed,
    optional,
    record,
    schema_of,
    text,
)
from dialects.segment.clocks import moment_of
from dialects.segment.errors import CallTooLarge, InvalidCall
from dialects.segment.mapping import (
    CALLS,
    COMPANY_FIELDS,
    CONTEXT_PATHS,
    FIRST_NAMES,
    IDENTIFYING_TRAITS,
    LAST_NAMES,
    MAPPED_CONTEXT,
    VIEW_NAMES,
)
from events.stream.types import IncomingEvent

MAX_CALL_BYTES = 32 << 10
MAX_BATCH_BYTES = 500 << 10
MAX_CALLS = 2_500
MAX_VIEW_NAME = 200
DESTINATION, _SERVICE = "Headrace", "Segment.io"

Call = Mapping[str, Any]
Identifiers = tuple[tuple[str, Any], ...]


def parse_call(
    call: Call, kind: str, *, sent_at: datetime | None, received_at: datetime, shared: Call | None = None
) -> IncomingEvent | None:
    """Return what a call records; None where its `integrations` leave us out.

    `shared` is the `context` of a whole batch. Raises InvalidCall with every problem of its shape.
    """
    problems = [*_CHECKS[kind]("", call), *_problems_of_identity(call, kind)]
    if problems:
        raise InvalidCall(problems)
    if not _is_for_us(call.get("integrations")):
        return None
    context = {**(shared or {}), **(call.get("context") or {})}
    occurred_at, is_estimated = moment_of(call, _sent_at(call) or sent_at, received_at)
    return IncomingEvent(
        name=_event_name(call, kind),
        contact=_reference(call, kind, context.get("traits") or {}),
        properties=_properties(call, kind),
        context=_context(context),
        occurred_at=occurred_at,
        message_id=_id(call, "messageId"),
        company=_company(call) if kind == "group" else None,
        is_time_estimated=is_estimated,
    )


def check_batch(body: Call) -> None:
    """Raise InvalidCall for a batch of another shape; its calls are looked at one by one."""
    if problems := [*_BATCH("", body)]:
        raise InvalidCall(problems)


def parse_item(
    call: Any, batch: Call, received_at: datetime, *, may_be_large: bool = True
) -> IncomingEvent | None:
    """Return what a call of a batch records; None where it leaves us out. `batch`: `sentAt`, `context`.

    Raises InvalidCall; CallTooLarge where it `may_be_large`.
    """
    if may_be_large:
        check_call_size(len(dumps(call)))
    if problems := [*_ITEM("", call)]:
        raise InvalidCall(problems)
    return parse_call(
        call, call["type"], sent_at=_sent_at(batch), received_at=received_at, shared=batch.get("context")
    )


def check_call_size(size_bytes: int) -> None:
    """Raise CallTooLarge for a call that has more bytes than the vendor takes."""
    if size_bytes > MAX_CALL_BYTES:
        raise CallTooLarge("A call", MAX_CALL_BYTES)


def check_batch_size(size_bytes: int) -> None:
    """Raise CallTooLarge for a batch that has more bytes than the vendor takes."""
    if size_bytes > MAX_BATCH_BYTES:
        raise CallTooLarge("A batch", MAX_BATCH_BYTES)


def _sent_at(body: Call) -> datetime | None:
    return parse_timestamp(body.get("sentAt"))


def _identity(path: str, value: Any) -> Iterator[FieldProblem]:
    """Demand a string or a number: what other systems have for an id."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        yield FieldProblem(path, "unsupported_type", "must be a string or a number")
    elif len(str(value)) > MAX_LENGTH:
        yield FieldProblem(path, "too_long", f"must have at most {MAX_LENGTH} characters")


described(_identity, {"oneOf": [{"type": "string", "maxLength": MAX_LENGTH}, {"type": "number"}]})


def _identifying(kind: str) -> Check:
    """Demand an address of a kind; an empty one says nothing."""

    def check(path: str, value: Any) -> Iterator[FieldProblem]:
        if value not in (None, "") and normalize_identifier(kind, value) is None:
            yield FieldProblem(path, "invalid_format", f"is no {kind}")

    return described(check, {"type": ["string", "null"]})


def _unchecked(path: str, value: Any) -> Iterator[FieldProblem]:
    """Demand nothing: each call of a batch is looked at by itself."""
    yield from ()


_OBJECT: Check = record({})
_TRAITS = record({name: _identifying(kind) for name, kind in IDENTIFYING_TRAITS.items()})
_MOMENT = form(
    parse_timestamp, "must be an ISO 8601 time", format="date-time", example="2026-01-15T10:00:00.000Z"
)
_CONTEXT = optional(record({"traits": optional(_TRAITS)}))
_COMMON: dict[str, Check] = {
    "userId": optional(_identity),
    "anonymousId": optional(_identity),
    "messageId": optional(_identity),
    "timestamp": optional(_MOMENT),
    "originalTimestamp": optional(_MOMENT),
    "sentAt": optional(_MOMENT),
    "context": _CONTEXT,
    "integrations": optional(_OBJECT),
}
_VIEW = {**_COMMON, "name": optional(text()), "category": optional(text()), "properties": optional(_OBJECT)}
_FIELDS: dict[str, dict[str, Check]] = {
    "identify": {**_COMMON, "traits": optional(_TRAITS)},
    "track": {**_COMMON, "event": text(255, is_blank_allowed=False), "properties": optional(_OBJECT)},
    "page": _VIEW,
    "screen": _VIEW,
    "group": {**_COMMON, "groupId": _identity, "traits": optional(_OBJECT)},
    "alias": {**_COMMON, "userId": _identity, "previousId": _identity},
}
_REQUIRED = {"track": ("event",), "group": ("groupId",), "alias": ("userId", "previousId")}
_CHECKS = {kind: record(_FIELDS[kind], required=_REQUIRED.get(kind, ())) for kind in CALLS}
_ITEM = record(
    {"type": form(CALLS.__contains__, f"must be one of {', '.join(CALLS)}", enum=[*CALLS])},
    required=("type",),
)
_BATCH = record(
    {
        "batch": listed(_unchecked, MAX_CALLS),
        "sentAt": optional(_MOMENT),
        "context": _CONTEXT,
        "writeKey": optional(text()),
    },
    required=("batch",),
)
_ANY_CALL = {name: check for fields in _FIELDS.values() for name, check in fields.items()}
CALL_SCHEMA = schema_of(record({**_ANY_CALL, "writeKey": optional(text())}))
BATCH_SCHEMA = {
    **schema_of(_BATCH),
    "properties": {
        **schema_of(_BATCH)["properties"],
        "batch": schema_of(
            listed(record({**_ANY_CALL, "type": form(CALLS.__contains__, "", enum=[*CALLS])}), MAX_CALLS)
        ),
    },
}


def _problems_of_identity(call: Any, kind: str) -> Iterator[FieldProblem]:
    # A group is described without a user too, by Customer.io's clients.
    if (
        isinstance(call, Mapping)
        and kind != "group"
        and not (_id(call, "userId") or _id(call, "anonymousId"))
    ):
        yield FieldProblem("userId", "required", "or anonymousId is required")


def _id(call: Call, name: str) -> str:
    value = call.get(name)
    return "" if value is None or isinstance(value, bool | dict | list) else str(value).strip()


def _is_for_us(integrations: Call | None) -> bool:
    if not integrations:
        return True
    # Pages that want no destinations still name the vendor's own service, in whose place we are.
    return bool(integrations.get(DESTINATION, integrations.get(_SERVICE) or integrations.get("All", True)))


def _event_name(call: Call, kind: str) -> str:
    if kind == "track":
        return str(call["event"]).strip()
    if kind not in VIEW_NAMES:
        return kind
    named, nameless = VIEW_NAMES[kind]
    name = (call.get("name") or "").strip()[:MAX_VIEW_NAME]
    return named.format(name) if name else nameless


def _properties(call: Call, kind: str) -> dict[str, Any]:
    if kind == "identify":
        return dict(call.get("traits") or {})
    if kind == "group":
        return {**(call.get("traits") or {}), "groupId": _id(call, "groupId")}
    if kind == "alias":
        return {"previousId": _id(call, "previousId")}
    view = {name: call[name] for name in ("name", "category") if kind in VIEW_NAMES and call.get(name)}
    return {**(call.get("properties") or {}), **view}


def _context(context: Call) -> dict[str, Any]:
    mapped = {name: _at(context, path) for name, path in CONTEXT_PATHS.items()}
    kept = {name: value for name, value in context.items() if name not in MAPPED_CONTEXT}
    return {**kept, **{name: value for name, value in mapped.items() if value not in (None, "")}}


def _at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _reference(call: Call, kind: str, traits: Call) -> ContactReference | None:
    """Return whom a call is about: by the strongest of its ids, which get all the others."""
    user, anonymous = _id(call, "userId"), _id(call, "anonymousId")
    names: Identifiers = ((Identifier.EXTERNAL_ID, user),) if user else ()
    if kind == "identify":
        traits = {**traits, **(call.get("traits") or {})}
    names += tuple((each, traits[name]) for name, each in IDENTIFYING_TRAITS.items() if traits.get(name))
    devices: Identifiers = ((Identifier.ANONYMOUS_ID, anonymous),) if anonymous else ()
    if not names and not devices:
        return None
    former: Identifiers = ()
    same_as = devices if names else ()
    if kind == "alias":
        # It was a device's, or a user's.
        previous = _id(call, "previousId")
        former = ((Identifier.ANONYMOUS_ID, previous),)
        same_as += (*former, (Identifier.EXTERNAL_ID, previous))
    return ContactReference(
        identifiers=(*names, *devices),
        if_missing="create",
        update_matched=True,
        changes=_changes(traits, former),
        distinct_by=Identifier.EXTERNAL_ID,
        same_as=same_as,
        merges=MergeScope.ANYBODY if kind == "alias" else MergeScope.UNNAMED,
    )


def _changes(traits: Call, identifiers: Identifiers = ()) -> ContactChanges:
    attributes = {name: value for name, value in traits.items() if name not in IDENTIFYING_TRAITS}
    first_name, last_name = _taken(attributes, FIRST_NAMES), _taken(attributes, LAST_NAMES)
    if first_name is None and last_name is None and isinstance(name := attributes.get("name"), str):
        del attributes["name"]
        first_name, _, last_name = name.strip().partition(" ")
    return ContactChanges(first_name, last_name, attributes, identifiers)


def _taken(attributes: dict[str, Any], names: Sequence[str]) -> Any:
    """Take the first that is given of several spellings out of the attributes."""
    values = [attributes.pop(name) for name in names if name in attributes]
    return next((value for value in values if value is not None), None)


def _company(call: Call) -> CompanyReference:
    attributes = dict(call.get("traits") or {})
    own = {field: _taken(attributes, names) for field, names in COMPANY_FIELDS.items()}
    size = own.pop("size")
    return CompanyReference(
        **own,
        size=str(size) if isinstance(size, int | float) else size,
        external_id=_id(call, "groupId"),
        attributes=attributes,
    )


class SegmentAnswerSerializer(serializers.Serializer[Any]):
    """The answer to what was taken."""

    success = serializers.BooleanField()


class SegmentErrorSerializer(serializers.Serializer[Any]):
    """A refusal."""

    success = serializers.BooleanField()
    code = serializers.CharField()
    message = serializers.CharField()
