"""Leadpush's refusals. The vendor runs on Laravel, so what no document shows has Laravel's shape."""

from collections.abc import Callable, Mapping
from typing import Any

from rest_framework.exceptions import ValidationError

from config.errors import DomainError, ErrorKind
from workspaces.api.errors import ErrorTable, Refusal, flatten

Errors = Mapping[str, list[str]]


def invalid(problems: Any) -> ValidationError:
    """Return the 422 that names every field, from what each must be, such as `must be a string`.

    `problems` are nested as a serializer's `errors`.
    """
    return ValidationError(
        {
            field: [f"The {_spoken(field)} field {problem}." for problem in predicates]
            for field, predicates in flatten(problems).items()
        }
    )


def _spoken(field: str) -> str:
    # Laravel names a plain field in words and a nested one by its path.
    return field if "." in field else field.replace("_", " ")


def _message_body(refusal: Refusal) -> dict[str, Any]:
    if refusal.status != 422:
        return {"message": refusal.message}
    errors = refusal.details or _errors_of(refusal)
    return {"message": _summary(errors), "errors": errors}


def _summary(errors: Errors) -> str:
    messages = [message for messages in errors.values() for message in messages]
    more = len(messages) - 1
    if not more:
        return messages[0]
    return f"{messages[0]} (and {more} more error{'s' if more > 1 else ''})"


def _errors_of(refusal: Refusal) -> Errors:
    name = _FIELDS.get(refusal.code)
    if name is None or not isinstance(refusal.error, DomainError):
        return {"body": [refusal.message]}
    field, message = name(refusal.error)
    return {field: [message]}


def _taken(error: Any) -> tuple[str, str]:
    return f"attributes.{error.kind}", f"The {error.kind} has already been taken."


def _invalid_identifier(error: Any) -> tuple[str, str]:
    return f"attributes.{error.kind}", f"The attributes.{error.kind} field must be a valid {error.kind}."


def _no_identity(error: Any) -> tuple[str, str]:
    field = f"attributes.{error.field}" if error.field else "attributes"
    return field, f"The {field} field is required."


def _invalid_value(error: Any) -> tuple[str, str]:
    expected = error.expected or "a valid value"
    field = error.field if error.field == "attributes" else f"attributes.{error.field}"
    return field, f"The {field} field must be {expected}."


def _about(field: str) -> Callable[[Any], tuple[str, str]]:
    return lambda error: (field, _sentence(error.message))


def _sentence(message: str) -> str:
    return message if message.endswith(".") else f"{message}."


# The field that a refusal of the core is about, and how Laravel would put it.
_FIELDS: dict[str, Callable[[Any], tuple[str, str]]] = {
    "identifier_taken": _taken,
    "invalid_identifier": _invalid_identifier,
    "no_identity": _no_identity,
    "invalid_field_value": _invalid_value,
    "field_name_taken": lambda error: ("name", "The name has already been taken."),
    "invalid_field_name": _about("name"),
    "invalid_field_type": lambda error: ("type", "The selected type is invalid."),
    "invalid_field_format": _about("format"),
    "invalid_event_name": _about("event_name"),
    "invalid_property_value": _about("attributes"),
    "too_many_properties": _about("attributes"),
    "identity_field_locked": lambda error: ("name", "The identity field cannot be renamed."),
    "invalid_idempotency_key": _about("Idempotency-Key"),
    "schema_mismatch": _about("attributes"),
}

LEADPUSH_ERRORS = ErrorTable(
    _message_body,
    statuses={
        ErrorKind.INVALID: 422,
        ErrorKind.CONFLICT: 422,
        "bad_request": 400,
        "idempotency_conflict": 409,
    },
    messages={
        "unauthenticated": "Unauthenticated.",
        "access_denied": "This action is unauthorized.",
        "not_found": "Not found.",
        "contact_not_found": "Not found.",
        "field_not_found": "Not found.",
        "suppression_not_found": "Not found.",
        "workspace_not_found": "Not found.",
        "method_not_allowed": "The method is not supported for this route.",
        "body_too_large": "The POST data is too large.",
        "unsupported_media_type": "The content type must be application/json.",
        "throttled": "Too Many Attempts.",
        "bad_request": "Bad request.",
        "body_overdue": "The request body did not arrive in time.",
        "unavailable": "Service Unavailable",
        "fault": "Server Error",
    },
)
