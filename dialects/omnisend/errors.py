"""Omnisend's refusals: problem details (RFC 9457) that list every problem at once, and v3's older bodies."""

from collections.abc import Iterable
from typing import Any
from uuid import uuid4

from rest_framework.response import Response

from config.errors import DomainError, ErrorKind, NotFoundError
from dialects.body_checks import FieldProblem
from dialects.omnisend.mapping import ATTRIBUTE_FIELDS, CODES, OLD_FIELDS, PROPERTY_CODES
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


class NotServed(NotFoundError):
    """The vendor has such a route, or a batch of such things, and Headrace has not."""

    code = "not_served"
    message = (
        "Headrace takes contacts and events only: it has no products, orders, carts, campaigns, automations, "
        "forms or categories under this API."
    )


class EventsNeedKey(NotFoundError):
    """A route by which a shop's plugin sends events with no credential."""

    code = "events_need_key"
    message = (
        "Headrace takes events with an API key only, which this route has not: POST the same body, with "
        "X-API-KEY, to /v5/events."
    )


class BatchNotFound(NotFoundError):
    """There is no such batch, or no such item in it."""

    code = "batch_not_found"
    message = "There is no such batch."


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


def old_name(field: str) -> str:
    """Return what v3 calls a field, by its path."""
    name, dot, rest = field.partition(".")
    return OLD_FIELDS.get(name, name) + dot + rest


def _old_body(refusal: Refusal) -> dict[str, Any]:
    """Return v3's body: a message and, of invalid values, messages by field."""
    body: dict[str, Any] = {"error": _body(refusal)["detail"]}
    fields: dict[str, list[str]] = {}
    for found in field_problems(refusal.error):
        fields.setdefault(old_name(found.field), []).append(found.message)
    return {**body, "fields": fields} if fields else body


def _old_forbidden(refusal: Refusal) -> dict[str, Any]:
    return {"error": _forbidden(refusal)["detail"]}


_MESSAGES = {
    "unauthenticated": "The access token is missing or invalid.",
    "contact_not_found": "There is no contact with this id.",
    "schema_mismatch": "The request has invalid values.",
}

OMNISEND_ERRORS = _ErrorTable(
    _body,
    statuses={ErrorKind.CONFLICT: 400, "idempotency_conflict": 409},
    messages=_MESSAGES,
    bodies={"access_denied": _forbidden},
)
V5_ERRORS = _ErrorTable(_body, messages=_MESSAGES, bodies={"access_denied": _forbidden})
"""Of v5 and of `/api`: an identifier that another contact has is a 409."""
V3_ERRORS = ErrorTable(_old_body, messages=_MESSAGES, bodies={"access_denied": _old_forbidden})
