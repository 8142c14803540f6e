"""What the OpenAPI document says about this format."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view

from dialects.autosend.mapping import MAX_CONTACTS, MAX_NAME_LENGTH, MAX_PROPERTIES, TYPE_OF_WIRE

_TAG = "AutoSend"
_TEXT: dict[str, Any] = {"type": "string"}
_OPTIONAL_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_INTEGER: dict[str, Any] = {"type": "integer"}
_TIME: dict[str, Any] = {"type": "string", "format": "date-time"}
_VALUES: dict[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
}


def _object(properties: dict[str, Any], *, required: tuple[str, ...] = ()) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    return {**schema, "required": list(required)} if required else schema


def _all(properties: dict[str, Any]) -> dict[str, Any]:
    return {**_object(properties, required=tuple(properties)), "additionalProperties": False}


def _list(items: dict[str, Any], **limits: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **limits}


def _enveloped(data: dict[str, Any]) -> dict[str, Any]:
    return _all({"success": {"const": True}, "data": data})


_NAME = {"type": "string", "pattern": f"^[A-Za-z0-9_]{{1,{MAX_NAME_LENGTH}}}$"}
_SEND = _object(
    {
        "eventName": {**_TEXT, "minLength": 1, "example": "order_completed"},
        "email": {**_OPTIONAL_TEXT, "example": "jane@example.com"},
        "contactId": {**_OPTIONAL_TEXT, "description": "Takes precedence over email"},
        "eventProperties": {**_VALUES, "example": {"order_total": 129.99, "currency": "USD"}},
    },
    required=("eventName",),
)
_EVENT = _all(
    {
        "id": _TEXT,
        "eventName": _TEXT,
        "contactId": _TEXT,
        "properties": {"type": "object", "additionalProperties": True},
        "createdAt": _TIME,
    }
)
_PROPERTY_BODY = _object(
    {
        "propertyName": _NAME,
        "type": {"type": "string", "enum": list(TYPE_OF_WIRE)},
        "description": _OPTIONAL_TEXT,
        "suggestedValues": {"type": ["array", "null"], "items": {**_TEXT, "maxLength": 2048}},
    },
    required=("propertyName", "type"),
)
_CHANGES: dict[str, Any] = {
    "description": _OPTIONAL_TEXT,
    "properties": {"type": ["array", "null"], "items": _PROPERTY_BODY, "maxItems": MAX_PROPERTIES},
}
_DEFINITION_BODY = _object({"eventName": _NAME, **_CHANGES}, required=("eventName",))
_PROPERTY = _object(
    {"propertyName": _TEXT, "type": _TEXT, "description": _TEXT, "suggestedValues": _list(_TEXT)},
    required=("propertyName", "type", "suggestedValues"),
)
_DEFINITION = _all(
    {
        "id": _TEXT,
        "eventName": _TEXT,
        "description": _OPTIONAL_TEXT,
        "properties": _list(_PROPERTY),
        "createdAt": _TIME,
        "updatedAt": _TIME,
    }
)
_CONTACT_BODY = _object(
    {
        "email": {**_TEXT, "example": "john.doe@example.com"},
        "firstName": {**_OPTIONAL_TEXT, "maxLength": 255},
        "lastName": {**_OPTIONAL_TEXT, "maxLength": 255},
        "userId": _OPTIONAL_TEXT,
        "listIds": {
            "type": ["array", "null"],
            "items": _TEXT,
            "maxItems": 0,
            "description": "There are no contact lists yet, so every id is refused by name",
        },
        "customFields": {**_VALUES, "example": {"company": "Acme Corp", "plan": "premium"}},
    },
    required=("email",),
)
_CONTACT = _all(
    {
        "id": _TEXT,
        "email": _OPTIONAL_TEXT,
        "firstName": _OPTIONAL_TEXT,
        "lastName": _OPTIONAL_TEXT,
        "userId": _OPTIONAL_TEXT,
        "customFields": {"type": "object", "additionalProperties": True},
        "listIds": _list(_TEXT),
        "createdAt": _TIME,
        "updatedAt": _TIME,
        "projectId": _TEXT,
    }
)
_EMAILS = {"oneOf": [_object({"emails": _list(_TEXT)}, required=("emails",)), _list(_TEXT)]}
_BULK = _object(
    {
        "contacts": _list(_CONTACT_BODY, minItems=1, maxItems=MAX_CONTACTS),
        "runWorkflow": {"type": ["boolean", "null"]},
    },
    required=("contacts",),
)
_FAILURE = _object(
    {
        "index": _INTEGER,
        "message": _TEXT,
        "code": _TEXT,
        "details": _list(_all({"field": _TEXT, "message": _TEXT})),
    },
    required=("index", "message", "code"),
)
_COUNTS = _object(
    {
        "successCount": _INTEGER,
        "failedCount": _INTEGER,
        "totalCount": _INTEGER,
        "errors": {**_list(_FAILURE), "description": "Ours, not the vendor's: only where something failed"},
    },
    required=("successCount", "failedCount", "totalCount"),
)
_DONE = _all({"success": {"const": True}})
_ERROR = _object(
    {
        "success": {"const": False},
        "error": _object(
            {
                "message": _TEXT,
                "code": _TEXT,
                "details": _list(_all({"field": _TEXT, "message": _TEXT})),
                "retryAfter": _INTEGER,
            },
            required=("message", "code"),
        ),
        "retryAfter": _INTEGER,
    },
    required=("success", "error"),
)
_REFUSALS = {401: "No valid key", 403: "The key lacks the scope", 429: "Too many requests"}
_BODY_REFUSALS = {
    400: "The body is invalid; `details` names every field",
    413: "The body is too large",
    415: "The body is not application/json",
}
_NO_CONTACT = {404: "No such contact"}
_NO_EVENT = {404: "No such event"}
_IDEMPOTENCY_KEY = OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER)


def _operation(
    summary: str,
    answer: dict[str, Any],
    *refusals: dict[int, str],
    status: int = 200,
    body: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    reasons = {**_REFUSALS, **(_BODY_REFUSALS if body else {})}
    for more in refusals:
        reasons |= more
    return extend_schema(
        tags=[_TAG],
        summary=summary,
        request={"application/json": body} if body else None,
        responses={
            status: OpenApiResponse(answer, description=summary),
            **{code: OpenApiResponse(_ERROR, description=why) for code, why in reasons.items()},
        },
        **options,
    )


SEND_EVENT = extend_schema_view(
    post=_operation(
        "Record an event for a contact",
        _enveloped(_EVENT),
        {404: "No such contact, or no such event", 409: "The Idempotency-Key stands for another request"},
        status=201,
        body=_SEND,
        parameters=[_IDEMPOTENCY_KEY],
    )
)
DEFINITIONS = extend_schema_view(
    get=_operation("List the events, newest first", _enveloped(_all({"events": _list(_DEFINITION)}))),
    post=_operation(
        "Declare an event",
        _enveloped(_DEFINITION),
        {403: "The key lacks the scope, or 100 events are declared already", 409: "The event exists"},
        status=201,
        body=_DEFINITION_BODY,
    ),
)
DEFINITION = extend_schema_view(
    get=_operation("Get an event", _enveloped(_DEFINITION), _NO_EVENT),
    patch=_operation(
        "Change an event; given properties replace the schema",
        _enveloped(_DEFINITION),
        _NO_EVENT,
        {409: "The type of a property cannot change"},
        body=_object(_CHANGES),
    ),
    delete=_operation("Delete an event; its logs stay", _enveloped(_DEFINITION), _NO_EVENT),
)
_TAKEN = {409: "Another contact has this email or userId"}
CREATE_CONTACT = extend_schema_view(
    post=_operation("Create a contact", _enveloped(_CONTACT), _TAKEN, status=201, body=_CONTACT_BODY)
)
UPSERT_CONTACT = extend_schema_view(
    post=_operation("Create a contact or change it", _enveloped(_CONTACT), _TAKEN, body=_CONTACT_BODY)
)
CONTACT = extend_schema_view(
    get=_operation("Get a contact", _enveloped(_CONTACT), _NO_CONTACT),
    delete=_operation("Delete a contact", _DONE, _NO_CONTACT),
)
DELETE_CONTACT_BY_USER_ID = extend_schema_view(
    delete=_operation("Delete a contact by userId", _DONE, _NO_CONTACT)
)
REMOVE_CONTACTS = extend_schema_view(post=_operation("Delete contacts by email", _DONE, body=_EMAILS))
SEARCH_CONTACTS = extend_schema_view(
    post=_operation("Find contacts by email", _enveloped(_all({"contacts": _list(_CONTACT)})), body=_EMAILS)
)
BULK_UPDATE = extend_schema_view(
    post=_operation("Create or change up to 100 contacts", _enveloped(_COUNTS), body=_BULK)
)
UNSUBSCRIBE_GROUPS = extend_schema_view(
    get=_operation("List the unsubscribe groups of a contact", _enveloped(_list(_TEXT)), _NO_CONTACT)
)
