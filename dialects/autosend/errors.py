"""AutoSend's refusals and their wire format."""

from collections.abc import Iterable, Mapping
from typing import Any

from campaigns.errors import MessageRefused
from config.errors import DomainError, ErrorKind
from contacts.errors import IdentifierTaken, InvalidFieldName, InvalidFieldValue, InvalidIdentifier
from dialects.autosend.mapping import FIELD_OF_CONTACT_FIELD, FIELD_OF_KIND, SPOKEN_TYPE
from events.errors import InvalidPropertyValue, TooManyProperties
from segments.errors import InvalidSegmentName
from workspaces.api.errors import BodyBuilder, ErrorTable, Refusal

INVALID_EMAIL = "Invalid email format"


class InvalidBody(DomainError):
    """The body's shape is wrong; `details` has every field that is."""

    code = "invalid_body"

    def __init__(self, problems: Iterable[tuple[str, str, str]]) -> None:
        """Take path, code and message of each problem."""
        super().__init__("Validation failed")
        self.details: dict[str, list[str]] = {}
        for path, code, message in problems:
            # The documented "Invalid email format" stands alone; the rest name their field.
            sentence = message if code == "invalid_format" else f"{path} {message}"
            self.details.setdefault(path or "body", []).append(sentence)


_VALIDATION_FAILED = "VALIDATION_FAILED"
_CODES = {
    "no_identity": "EMAIL_OR_CONTACT_ID_REQUIRED",
    "contact_not_found": "CONTACT_NOT_FOUND",
    "segment_not_found": "CONTACT_LIST_NOT_FOUND",
    "segment_is_dynamic": "CONTACT_LIST_NOT_FOUND",
    "segment_exists": "CONTACT_LIST_ALREADY_EXISTS",
    "segment_in_use": "CONTACT_LIST_IN_USE",
    "field_not_found": "CUSTOM_FIELD_NOT_FOUND",
    "field_name_taken": "CUSTOM_FIELD_ALREADY_EXISTS",
    "identity_field_locked": "CUSTOM_FIELD_IN_USE",
    "workspace_not_found": "PROJECT_NOT_FOUND",
    "message_refused": "MESSAGE_REFUSED",
    "template_not_found": "TEMPLATE_NOT_FOUND",
    "event_not_defined": "EVENT_NOT_FOUND",
    "definition_not_found": "EVENT_NOT_FOUND",
    "unknown_property": "UNKNOWN_PROPERTY",
    "invalid_property_value": "INVALID_PROPERTY_VALUE",
    "definition_exists": "EVENT_ALREADY_EXISTS",
    "definition_limit_reached": "EVENT_LIMIT_REACHED",
    "property_type_locked": "PROPERTY_TYPE_LOCKED",
    "identifier_taken": "CONTACT_ALREADY_EXISTS",
    "idempotency_conflict": "IDEMPOTENCY_CONFLICT",
    "invalid_idempotency_key": "INVALID_IDEMPOTENCY_KEY",
    "unauthenticated": "UNAUTHORIZED",
    "access_denied": "FORBIDDEN",
    "not_found": "NOT_FOUND",
    "method_not_allowed": "METHOD_NOT_ALLOWED",
    "body_too_large": "PAYLOAD_TOO_LARGE",
    "unsupported_media_type": "UNSUPPORTED_MEDIA_TYPE",
    "unsupported_encoding": "UNSUPPORTED_MEDIA_TYPE",
    "throttled": "RATE_LIMIT_EXCEEDED",
    "body_overdue": "REQUEST_TIMEOUT",
    "unavailable": "SERVICE_UNAVAILABLE",
    "fault": "SERVER_ERROR",
}
# An event's name is opaque when it is sent: one that cannot exist is simply not found.
_SEND_CODES = {
    **_CODES,
    "contact_not_found": "CONTACT_NOT_FOUND_FOR_EVENT",
    "invalid_event_name": "EVENT_NOT_FOUND",
}
_STATUSES: dict[ErrorKind | str, int] = {
    # A list is a static segment; what is none is not found.
    "segment_is_dynamic": 404,
    "person_erased": 400,
    # The vendor has no 422.
    "message_refused": 400,
}
_MESSAGES = {
    "no_identity": "Either email or contactId is required",
    "segment_not_found": "Contact list not found",
    "segment_is_dynamic": "Contact list not found",
    "segment_exists": "A contact list with this name already exists",
    "field_not_found": "Custom field not found",
    "field_name_taken": "A custom field with this name already exists",
    "identity_field_locked": "This custom field identifies the project's contacts",
    "workspace_not_found": "Project not found",
    "definition_not_found": "Event not found",
    "definition_exists": "An event with this name already exists",
    "access_denied": "Forbidden",
    "throttled": "Rate limit exceeded",
}
_SEND_MESSAGES = {
    **_MESSAGES,
    "contact_not_found": "Contact not found for the provided email or contactId",
    "invalid_event_name": "Event not found",
}


def _body_with(codes: Mapping[str, str]) -> BodyBuilder:
    def build(refusal: Refusal) -> dict[str, Any]:
        code = codes.get(refusal.code, _VALIDATION_FAILED)
        if code == _VALIDATION_FAILED:
            return _envelope({"message": "Validation failed", "code": code, "details": _details(refusal)})
        return _envelope({"message": _message(refusal), "code": code}, refusal.wait_seconds)

    return build


def _envelope(error: dict[str, Any], retry_after: int | None = None) -> dict[str, Any]:
    if retry_after is None:
        return {"success": False, "error": error}
    # The docs promise the field and do not say where it is (A12).
    return {"success": False, "error": {**error, "retryAfter": retry_after}, "retryAfter": retry_after}


def _message(refusal: Refusal) -> str:
    match refusal.error:
        case InvalidPropertyValue(property=name, type=type_):
            return f'Property "{name}" must be {SPOKEN_TYPE.get(type_, type_)}'  # type: ignore[call-overload]
        case IdentifierTaken(kind=kind):
            return f"A contact with this {FIELD_OF_KIND.get(kind, kind)} already exists"
        case MessageRefused(detail={"message": why}):
            return f"{refusal.message} ({why})"
        case _:
            return refusal.message


def _details(refusal: Refusal) -> list[dict[str, str]]:
    details = refusal.details or {_field(refusal.error): [_detail(refusal)]}
    return [{"field": name, "message": text} for name, messages in details.items() for text in messages]


def _field(error: Exception) -> str:
    match error:
        case InvalidFieldValue(field="attributes"):
            return "customFields"
        case InvalidFieldValue(field=name):
            return FIELD_OF_CONTACT_FIELD.get(name, f"customFields.{name}")
        case InvalidIdentifier(kind=kind):
            return FIELD_OF_KIND.get(kind, f"customFields.{kind}")
        case TooManyProperties():
            return "eventProperties"
        case InvalidFieldName():
            return "fieldName"
        case InvalidSegmentName():
            return "name"
        case _:
            return "body"


def _detail(refusal: Refusal) -> str:
    if isinstance(refusal.error, InvalidIdentifier) and refusal.error.kind == "email":
        return INVALID_EMAIL
    return refusal.message


error_table = ErrorTable(_body_with(_CODES), statuses=_STATUSES, messages=_MESSAGES)
send_error_table = ErrorTable(
    _body_with(_SEND_CODES), statuses={**_STATUSES, "invalid_event_name": 404}, messages=_SEND_MESSAGES
)


def error_of(error: DomainError) -> dict[str, Any]:
    """Return a refusal as an answer has it that is about several things: `message`, `code` and perhaps `details`."""
    refusal = error_table.refusal(error)
    assert refusal is not None  # noqa: S101  (every DomainError is one)
    described: dict[str, Any] = error_table.response(refusal).data["error"]
    return described
