"""What the OpenAPI document says about this format."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

_TAG = "Leadpush"
_TEXT: dict[str, Any] = {"type": "string"}
_BOOLEAN: dict[str, Any] = {"type": "boolean"}
_INTEGER: dict[str, Any] = {"type": "integer"}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}


def _object(properties: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _all(properties: dict[str, Any]) -> dict[str, Any]:
    return {**_object(properties, required=tuple(properties)), "additionalProperties": False}


_ATTRIBUTES: dict[str, Any] = {
    "type": "object",
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    "example": {"email": "person@example.com", "first_name": "Ada"},
}
_EVENT_ATTRIBUTES: dict[str, Any] = {
    "oneOf": [
        {"type": "object", "additionalProperties": True},
        {"type": "string", "description": "The object as JSON text"},
        {"type": "null"},
    ],
    "example": {"plan": "pro", "source": "api"},
}
_SEND = _object(
    {
        "event_name": {**_TEXT, "minLength": 1, "maxLength": 255, "example": "contact.signed_up"},
        "attributes": _EVENT_ATTRIBUTES,
    },
    required=("event_name",),
)
_CONTACT_BODY = _object({"attributes": _ATTRIBUTES, "subscribed": {"type": ["boolean", "null"]}})
_FORMAT: dict[str, Any] = {
    "type": ["object", "null"],
    "properties": {
        "text": {"type": ["string", "null"], "enum": ["email", "phone", "uuid", "url", "regex", None]},
        "pattern": {"type": ["string", "null"]},
        "iso_format": {"type": ["string", "null"]},
    },
}
_FIELD_TYPE: dict[str, Any] = {"type": "string", "enum": ["integer", "text", "date", "datetime", "boolean"]}
_FIELD_BODY = _object({"name": _TEXT, "type": _FIELD_TYPE, "format": _FORMAT}, required=("name", "type"))
_FIELD_CHANGES = _object({"name": _TEXT, "type": _FIELD_TYPE, "format": _FORMAT})
_FIELDS_BODY = _object({"fields": {"type": "array", "items": _FIELD_BODY}}, required=("fields",))

_CONTACT = _all(
    {
        "uuid": _TEXT,
        "subscribed": _BOOLEAN,
        "attributes": _ATTRIBUTES,
        "provider": {"type": ["string", "null"]},
        "created_at": _TIME,
        "updated_at": _TIME,
    }
)
_EVENT = _all(
    {
        "uuid": _TEXT,
        "event_name": _TEXT,
        "attributes": {"type": "object", "additionalProperties": True},
        "created_at": _TIME,
    }
)
_FIELD = _all({"uuid": _TEXT, "name": _TEXT, "type": _FIELD_TYPE, "format": _FORMAT, "created_at": _TIME})
_META = _all(
    {
        "current_page": _INTEGER,
        "per_page": _INTEGER,
        "total": _INTEGER,
        "last_page": _INTEGER,
        "has_next": _BOOLEAN,
    }
)
_ERROR = _object(
    {
        "message": _TEXT,
        "errors": {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}},
    },
    required=("message",),
)


def _wrapped(shape: dict[str, Any]) -> dict[str, Any]:
    return {"oneOf": [_all({"data": shape}), shape]}


def _page(shape: dict[str, Any]) -> dict[str, Any]:
    return _object({"data": {"type": "array", "items": shape}, "meta": _META}, required=("data",))


_REFUSALS = {
    400: "The request cannot be read",
    401: "No valid credential",
    403: "The credential has no access",
    404: "Not found",
    422: "Invalid; `errors` names every field",
    429: "Too many requests",
}
_BODY_REFUSALS = {
    409: "The Idempotency-Key stands for another request",
    413: "The body is too large",
    415: "The body is not application/json",
}
_BOTH = "A single object is bare where the path names the workspace, else wrapped in `data`."


def _operation(
    summary: str,
    success: dict[int, Any],
    *,
    request: dict[str, Any] | None = None,
    parameters: tuple[OpenApiParameter, ...] = (),
    description: str = "",
) -> Any:
    refusals = {**_REFUSALS, **_BODY_REFUSALS} if request else _REFUSALS
    return extend_schema(
        tags=[_TAG],
        summary=summary,
        description=description,
        parameters=list(parameters),
        request={"application/json": request} if request else None,
        responses={
            **{status: OpenApiResponse(shape, description="Success") for status, shape in success.items()},
            **{status: OpenApiResponse(_ERROR, description=why) for status, why in refusals.items()},
        },
    )


_PAGING = (
    OpenApiParameter("page", OpenApiTypes.INT, description="From 1"),
    OpenApiParameter("per_page", OpenApiTypes.INT, description="10 by default, at most 100"),
)
_SEARCH = OpenApiParameter("search", OpenApiTypes.STR, description="A part of the name, in any case")
_SORTING = OpenApiParameter(
    "sorting[]",
    OpenApiTypes.STR,
    many=True,
    description='`{"id":"created_at","desc":true}` for the newest first',
)
_FILTERS = OpenApiParameter(
    "filters", OpenApiTypes.STR, description='`[{"id":"type","value":["text"]}]`; or repeat `filters[]`'
)
_KEY = OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER)

SEND_EVENT = _operation(
    "Send event",
    {204: None},
    request=_SEND,
    parameters=(_KEY,),
    description="Records an event for a contact by UUID or identity value.",
)
LIST_EVENTS = _operation("List events", {200: _page(_EVENT)}, parameters=(*_PAGING, _SEARCH, _SORTING))
LIST_CONTACTS = _operation("List contacts", {200: _page(_CONTACT)}, parameters=_PAGING)
CREATE_CONTACT = _operation(
    "Create contact", {201: _wrapped(_CONTACT)}, request=_CONTACT_BODY, description=_BOTH
)
GET_CONTACT = _operation("Get contact", {200: _wrapped(_CONTACT)}, description=_BOTH)
UPDATE_CONTACT = _operation(
    "Update contact", {200: _wrapped(_CONTACT)}, request=_CONTACT_BODY, description=_BOTH
)
DELETE_CONTACT = _operation("Delete contact", {204: None})
UPSERT_CONTACT = _operation(
    "Create or update contact",
    {200: _wrapped(_CONTACT), 201: _wrapped(_CONTACT)},
    request=_CONTACT_BODY,
    description=_BOTH,
)
SUBSCRIBE = _operation("Subscribe contact", {200: _wrapped(_CONTACT)}, description=_BOTH)
UNSUBSCRIBE = _operation("Unsubscribe contact", {200: _wrapped(_CONTACT)}, description=_BOTH)
LIST_FIELDS = _operation(
    "List fields",
    {200: _page(_FIELD)},
    parameters=(*_PAGING, _SEARCH, _FILTERS),
    description="All of them, without `meta`, where the path names the workspace.",
)
CREATE_FIELD = _operation(
    "Create field",
    {201: {"oneOf": [_all({"data": _FIELD}), _all({"data": {"type": "array", "items": _FIELD}})]}},
    request={"oneOf": [_FIELD_BODY, _FIELDS_BODY]},
    description="Where the path names the workspace, `fields` is a list and so is the answer.",
)
GET_FIELD = _operation("Get field", {200: _wrapped(_FIELD)}, description=_BOTH)
UPDATE_FIELD = _operation("Update field", {200: _wrapped(_FIELD)}, request=_FIELD_CHANGES, description=_BOTH)
HIDDEN = extend_schema(exclude=True)
