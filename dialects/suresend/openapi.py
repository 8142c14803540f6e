"""What the OpenAPI document says about this format."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

_TEXT: dict[str, Any] = {"type": "string"}
_NAME: dict[str, Any] = {"type": ["string", "null"], "maxLength": 255}
_NUMBER: dict[str, Any] = {"type": ["number", "null"]}
_OPTIONAL_TEXT: dict[str, Any] = {"type": ["string", "null"]}


def _object(properties: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    return {"oneOf": [schema, {"type": "null"}]}


def _identifiers(example: str) -> dict[str, Any]:
    entry = _object(
        {"value": _TEXT, "type": _OPTIONAL_TEXT, "isPrimary": {"type": ["boolean", "null"]}},
        required=("value",),
    )
    return {"type": ["array", "null"], "items": {"oneOf": [_TEXT, entry]}, "example": [example]}


_PERSON = _object(
    {
        "firstName": _NAME,
        "lastName": _NAME,
        "name": _NAME,
        "emails": _identifiers("jane@example.com"),
        "phones": _identifiers("+1-555-1234"),
        "companyName": _NAME,
        "stage": _NAME,
        "source": _NAME,
        "tags": {"type": ["array", "null"], "items": _TEXT},
        "addresses": {"type": ["array", "null"], "items": {"oneOf": [_TEXT, _object({})]}},
        "assignedUserId": {"type": ["string", "number", "null"]},
        "averagePrice": _NUMBER,
    }
)
_COMPANY = _object(
    {
        "id": _OPTIONAL_TEXT,
        "name": _NAME,
        "website": {"type": ["string", "null"], "maxLength": 2048},
        "industry": _NAME,
        "companySize": {"type": ["string", "null"], "maxLength": 64},
    }
)
_PROPERTY = _object(
    {
        "id": {"type": ["string", "number", "null"]},
        "address": _OPTIONAL_TEXT,
        "price": _NUMBER,
        "beds": _NUMBER,
        "baths": _NUMBER,
        "sqft": _NUMBER,
        "url": _OPTIONAL_TEXT,
        "imageUrl": _OPTIONAL_TEXT,
    },
)
_PROPERTY_SEARCH = _object(
    {
        "minPrice": _NUMBER,
        "maxPrice": _NUMBER,
        "beds": _NUMBER,
        "location": _OPTIONAL_TEXT,
        "propertyType": _OPTIONAL_TEXT,
    },
)
_EVENT_FIELDS: dict[str, Any] = {
    "pageUrl": _OPTIONAL_TEXT,
    "pageTitle": _OPTIONAL_TEXT,
    "pageReferrer": _OPTIONAL_TEXT,
    "pageDuration": {**_NUMBER, "description": "in seconds"},
    "property": _or_null(_PROPERTY),
    "propertySearch": _or_null(_PROPERTY_SEARCH),
    "message": _OPTIONAL_TEXT,
    "metadata": {"type": ["object", "null"], "additionalProperties": True},
}
_REQUEST = _object(
    {
        "type": {**_TEXT, "minLength": 1, "maxLength": 255, "example": "form_submission"},
        "personId": _OPTIONAL_TEXT,
        "person": _or_null(_PERSON),
        "company": _or_null(_COMPANY),
        **_EVENT_FIELDS,
        "ipAddress": _OPTIONAL_TEXT,
        "userAgent": _OPTIONAL_TEXT,
        "occurredAt": {"type": ["string", "null"], "format": "date-time"},
    },
    required=("type",),
)
_ANSWER = _object(
    {
        "event": _object(
            {
                "id": _TEXT,
                "eventType": _TEXT,
                "personId": _TEXT,
                "companyId": _OPTIONAL_TEXT,
                "occurredAt": _TEXT,
                **_EVENT_FIELDS,
                "createdAt": _TEXT,
            }
        ),
        "person": _object({"id": _TEXT}),
        "company": _object({"id": _TEXT}),
        "wasPersonCreated": {"type": "boolean"},
        "wasCompanyCreated": {"type": "boolean"},
    },
    required=("event", "person", "wasPersonCreated"),
)
_ERROR = _object(
    {"error": _TEXT, "errors": {"type": "object", "additionalProperties": {"type": "array", "items": _TEXT}}},
    required=("error",),
)
_REFUSALS = {
    401: "No valid credential",
    403: "The credential lacks the scope events:write",
    404: "No such person or company",
    409: "The Idempotency-Key stands for another request",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "The body is invalid; `errors` names every field",
    429: "Too many requests",
}

CREATE_EVENT = extend_schema(
    tags=["Sure Send"],
    summary="Create an event",
    description="Records an event for a person, who is found by id, email or phone, or created.",
    parameters=[
        OpenApiParameter("X-System-Id", OpenApiTypes.STR, OpenApiParameter.HEADER, description="Any value"),
        OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER),
    ],
    request={"application/json": _REQUEST},
    responses={
        200: OpenApiResponse(_ANSWER, description="Person and company existed"),
        201: OpenApiResponse(_ANSWER, description="A person or a company was created"),
        **{status: OpenApiResponse(_ERROR, description=why) for status, why in _REFUSALS.items()},
    },
)
