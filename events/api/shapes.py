"""Bodies of the ingest endpoints: typed msgspec structs, parsed without coercion."""

from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta
from rest_framework.exceptions import ValidationError

from config.values.datetimes import parse_timestamp
from contacts.references import ContactReference
from events.errors import InvalidEventTime
from events.stream.types import IncomingEvent

MAX_BATCH = 1000
CONTEXT_FIELDS = ("sessionId", "pageUrl", "referrer", "utmSource", "utmMedium", "utmCampaign")

_NO_MOMENT = "must be a date or a date-time of ISO 8601 that exists, such as 2026-01-31T12:00:00Z"
ShortText = Annotated[str, Meta(max_length=1024)]
Address = Annotated[str, Meta(max_length=8192)]


class EventBody(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An event as a client sends it."""

    type: Annotated[str, Meta(min_length=1, max_length=255, description="Event type identifier")]
    contact_id: Annotated[str | None, Meta(description="Associated contact ID")] = None
    metadata: Annotated[dict[str, Any] | None, Meta(description="Arbitrary event payload")] = None
    session_id: Annotated[ShortText | None, Meta(description="Browser session ID")] = None
    page_url: Annotated[Address | None, Meta(description="Page where event occurred")] = None
    referrer: Annotated[Address | None, Meta(description="Referring URL")] = None
    utm_source: Annotated[ShortText | None, Meta(description="UTM source parameter")] = None
    utm_medium: Annotated[ShortText | None, Meta(description="UTM medium parameter")] = None
    utm_campaign: Annotated[ShortText | None, Meta(description="UTM campaign parameter")] = None

    def to_incoming(self) -> IncomingEvent:
        """Return the event as the core takes it."""
        return IncomingEvent(
            name=self.type,
            contact=None if self.contact_id is None else ContactReference(id=self.contact_id),
            properties=self.metadata or {},
            context=self.context(),
            occurred_at=self.moment(),
            message_id=self.key(),
        )

    def context(self) -> dict[str, str]:
        """Return what the sender said of the browser."""
        values = (
            self.session_id,
            self.page_url,
            self.referrer,
            self.utm_source,
            self.utm_medium,
            self.utm_campaign,
        )
        return {name: value for name, value in zip(CONTEXT_FIELDS, values, strict=True) if value is not None}

    def moment(self) -> datetime | None:
        """Return when it happened, None for "now": a single event takes no time of the sender's."""
        return None

    def key(self) -> str:
        """Return the sender's own key of the event, if any."""
        return ""


class BatchItem(EventBody, frozen=True, kw_only=True, rename="camel"):
    """An event in a batch: it may lie in the past and have the sender's own key."""

    timestamp: Annotated[
        str | None,
        Meta(
            description="When it happened, ISO 8601; without an offset, UTC",
            extra_json_schema={"format": "date-time"},
        ),
    ] = None
    message_id: Annotated[
        Annotated[str, Meta(min_length=1, max_length=255)] | None,
        Meta(description="The sender's own key: an event with a known one is a duplicate, for ever"),
    ] = None

    def moment(self) -> datetime | None:
        """Return when it happened, as the sender says. Raises InvalidEventTime."""
        if self.timestamp is None:
            return None
        if (moment := parse_timestamp(self.timestamp.strip())) is None:
            raise InvalidEventTime(_NO_MOMENT)
        return moment

    def key(self) -> str:
        """Return the sender's own key."""
        return self.message_id or ""


class BatchBody(msgspec.Struct, frozen=True):
    """A batch; its items are read one by one, so that a bad one leaves the others alone."""

    events: Annotated[list[Any], Meta(max_length=MAX_BATCH)]


_BodyT = TypeVar("_BodyT", EventBody, BatchItem, BatchBody)


def read(body: object, shape: type[_BodyT]) -> _BodyT:
    """Return `body` as `shape`. Raises ValidationError, which names the field."""
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        raise ValidationError(_details(str(error))) from error


def json_schema(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """Return the JSON schema of `shape`, all in one piece."""
    _, found = msgspec.json.schema_components([shape], ref_template="{name}")
    schema: dict[str, Any] = _inlined(found[shape.__name__], found)
    schema.pop("title", None)
    return schema


def _inlined(schema: Any, components: dict[str, Any]) -> Any:
    """Put components where a schema refers to them."""
    if isinstance(schema, list):
        return [_inlined(each, components) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(components[schema["$ref"]], components)
    return {key: _inlined(each, components) for key, each in schema.items()}


def batch_schema() -> dict[str, Any]:
    """Return the JSON schema of a batch with its items spelled out."""
    items = {"type": "array", "maxItems": MAX_BATCH, "items": json_schema(BatchItem)}
    return {"type": "object", "required": ["events"], "properties": {"events": items}}


def _details(message: str) -> dict[str, list[str]]:
    """msgspec says `Expected `str`, got `int` - at `$.metadata``, or names a missing field in quotes."""
    what, _, where = message.partition(" - at `$.")
    if where == "timestamp`":
        return {"timestamp": [f"It {_NO_MOMENT}."]}
    if field := where.rstrip("`"):
        return {field: [what.replace("`", "")]}
    missing = what.removeprefix("Object missing required field `")
    if missing != what:
        return {missing.rstrip("`"): ["This field is required."]}
    return {"body": [what.partition(" - at ")[0].replace("`", "")]}
