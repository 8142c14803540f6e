"""Omnisend's refusals: problem details (RFC 9457) that list every problem at once."""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from rest_framework.response import Response

from config.errors import DomainError, ErrorKind
from dialects.body_checks import FieldProblem
from dialects.omnisend.mapping import ATTRIBUTE_FIELDS, CODES, PROPERTY_CODES
from workspaces.api.errors import ErrorTable, Refusal
from workspaces.scopes import to_oauth

_TYPES = "https://problems.omnisend.com/"
_BY_STATUS = {
    400: ("validation-failed", "Validation failed"),
    401: ("unauthorized", "Unauthorized"),
    403: ("forbidden", "Forbidden"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    408: ("request-timeout", "Request timeout"),
    409: ("conflict", "Conflict"),
    413: ("payload-too-large", "Payload too large"),
    415: ("unsupported-media-type", "Unsupported media type"),
    429: ("rate-limit-exceeded", "Rate limit exceeded"),
    500: ("internal-error", "Internal error"),
    503: ("service-unavailable", "Service unavailable"),
}
# Faults of the whole body: nothing in it can be pointed at.
_MALFORMED = ("malformed-request", "Malformed request")
_MALFORMED_CODES = ("malformed_body", "not_an_object", "bad_request")


class InvalidTrack(DomainError):
    """The request breaks rules of this format; `problems` lists every breach."""

    code = "invalid_track"

    def __init__(self, problems: Iterable[FieldProblem]) -> None:
        super().__init__("The request has invalid values.")
        self.problems = list(problems)


class _ErrorTable(ErrorTable):
    def response(self, refusal: Refusal) -> Response:
        answer = super().response(refusal)
        answer.content_type = "application/problem+json"
        return answer


def field_problems(error: Exception) -> list[FieldProblem]:
    """Return what a refusal says about single fields."""
    if isinstance(error, InvalidTrack):
        return error.problems
    if not isinstance(error, DomainError):
        return []
    if error.code == "schema_mismatch":
        return [found for each in getattr(error, "problems", []) for found in field_problems(each)]
    if error.code in PROPERTY_CODES:
        field = f"properties.{getattr(error, 'property', '')}"
        return [FieldProblem(field, PROPERTY_CODES[error.code], error.message)]
    if error.code == "invalid_field_value":
        name = getattr(error, "field", "")
        if name == "attributes":
            return [FieldProblem("contact.customProperties", "too_many", error.message)]
        field = f"contact.{name}" if name in ATTRIBUTE_FIELDS else f"contact.customProperties.{name}"
        return [FieldProblem(field, "type_mismatch", error.message)]
    if error.code in CODES:
        code, field = CODES[error.code]
        return [FieldProblem(field, code, error.message)]
    return []


def _body(refusal: Refusal) -> dict[str, Any]:
    is_malformed = refusal.code in _MALFORMED_CODES
    kind, title = _MALFORMED if is_malformed else _BY_STATUS.get(refusal.status, _MALFORMED)
    body: dict[str, Any] = {
        "type": _TYPES + kind,
        "title": title,
        "status": refusal.status,
        "detail": refusal.message,
        "instance": f"urn:omnisend:request:{uuid4()}",
    }
    if refusal.status == 400 and not is_malformed:
        body["errors"] = [
            {"field": found.field, "code": found.code, "message": found.message}
            for found in field_problems(refusal.error)
        ]
    if refusal.wait_seconds is not None:
        body["retryAfter"] = refusal.wait_seconds
    return body


def _forbidden(refusal: Refusal) -> dict[str, Any]:
    body = _body(refusal)
    if scope := getattr(refusal.error, "scope", ""):
        body["detail"] = f"The credential lacks the scope {to_oauth([scope])[0]}."
    return body


OMNISEND_ERRORS = _ErrorTable(
    _body,
    statuses={ErrorKind.CONFLICT: 400, "idempotency_conflict": 409},
    messages={
        "unauthenticated": "The access token is missing or invalid.",
        "contact_not_found": "There is no contact with this id.",
        "schema_mismatch": "The request has invalid values.",
    },
    bodies={"access_denied": _forbidden},
)
