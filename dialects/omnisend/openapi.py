"""What the OpenAPI document says about this format."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from dialects.omnisend.mapping import ATTRIBUTE_LENGTHS, CHANNELS, CONSENT_LISTS, NAME_LENGTHS

_TEXT: dict[str, Any] = {"type": "string"}
_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean", "null"], "maxLength": 2048}
_NAME = "^[A-Za-z0-9_]{1,128}$"


def _object(properties: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _named(max_properties: int | None = None) -> dict[str, Any]:
    schema = {"type": "object", "propertyNames": {"pattern": _NAME}, "additionalProperties": _SCALAR}
    return schema if max_properties is None else {**schema, "maxProperties": max_properties}


def _optional_text(longest: int) -> dict[str, Any]:
    return {"type": ["string", "null"], "maxLength": longest}


_CONSENT = _object(
    {
        "channel": {"enum": list(CHANNELS)},
        "createdAt": {"type": ["string", "null"], "format": "date-time"},
        "source": _optional_text(255),
        "ip": _optional_text(64),
        "userAgent": _optional_text(2048),
    },
    required=("channel",),
)
_CONTACT = _object(
    {
        "id": {"type": ["string", "null"]},
        "contactID": {"type": ["string", "null"]},
        "email": {**_TEXT, "example": "jane@example.com"},
        "phoneNumber": {**_TEXT, "pattern": r"^\+[1-9][0-9]{1,14}$"},
        "phone": {**_TEXT, "pattern": r"^\+[1-9][0-9]{1,14}$"},
        **{name: _optional_text(longest) for name, longest in (NAME_LENGTHS | ATTRIBUTE_LENGTHS).items()},
        "gender": {"enum": ["m", "f", None]},
        "birthdate": {"type": ["string", "null"], "format": "date"},
        "tags": {"type": ["array", "null"], "items": _TEXT, "maxItems": 100},
        "customProperties": _named(),
        **{
            name: {"type": "array", "items": _CONSENT, "maxItems": most}
            for name, (most, _) in CONSENT_LISTS.items()
        },
    }
)
_REQUEST = _object(
    {
        "eventName": {**_TEXT, "minLength": 1, "maxLength": 255, "example": "order_completed"},
        "contact": _CONTACT,
        "properties": {**_named(100), "type": ["object", "null"]},
        "eventTime": {"type": ["string", "null"], "format": "date-time"},
        "eventID": _optional_text(255),
    },
    required=("eventName", "contact"),
)
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "instance": _TEXT,
        "errors": {
            "type": "array",
            "items": _object({"field": _TEXT, "code": _TEXT, "message": _TEXT}),
        },
        "retryAfter": {"type": "integer"},
    },
}
_REFUSALS = {
    400: "The request is invalid; `errors` lists every problem",
    401: "No valid credential",
    403: "The credential lacks the scope events.write",
    404: "No such contact",
    409: "The Idempotency-Key stands for another request",
    413: "The body is too large",
    415: "The body is not application/json",
    429: "Too many requests",
}

TRACK = extend_schema(
    tags=["Omnisend"],
    summary="Track an event",
    description="Records an event, learns its schema, and creates or updates its contact: all or nothing.",
    parameters=[OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER)],
    request={"application/json": _REQUEST},
    responses={
        202: OpenApiResponse(None, description="Accepted"),
        **{
            (status, "application/problem+json"): OpenApiResponse(_PROBLEM, description=why)
            for status, why in _REFUSALS.items()
        },
    },
)
