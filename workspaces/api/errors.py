"""One table per wire format: what a refusal looks like on the wire."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.signals import got_request_exception
from django.db import DatabaseError, InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.log import log_response
from rest_framework import exceptions
from rest_framework.response import Response
from rest_framework.views import set_rollback

from config.db.errors import classify_database_error
from config.errors import DomainError
from config.http.compression import SUPPORTED
from config.http.json import BodyTimeout, BodyTooLarge, UnsupportedEncoding, parsing_error_of
from config.http.rendering import dumps

Details = Mapping[str, list[str]]
RETRY_SECONDS = 2
"""When to come back after a 503."""


class NotAnObject(exceptions.ParseError):
    """The body is valid JSON, but not an object."""

    default_detail = "The body must be a JSON object."
    default_code = "not_an_object"


@dataclass(frozen=True)
class Problem:
    """A refusal, before a wire format gives it a body.

    `details` maps a field to what is wrong with it (dotted path for nested ones; validation only).
    """

    status: int
    code: str
    message: str
    error: Exception
    details: Details = field(default_factory=dict)

    @property
    def wait_seconds(self) -> int | None:
        """When to come back, for a request that was throttled or came at a bad moment."""
        wait = getattr(self.error, "wait", RETRY_SECONDS if self.status == 503 else None)
        return None if wait is None else max(int(wait), 1)


BodyBuilder = Callable[[Problem], object]

# The codes of what DRF and Django raise; a table may give each another status.
_CODES: tuple[tuple[type[Exception], str, int], ...] = (
    (exceptions.NotAuthenticated, "unauthenticated", 401),
    (exceptions.AuthenticationFailed, "unauthenticated", 401),
    (exceptions.PermissionDenied, "access_denied", 403),
    (PermissionDenied, "access_denied", 403),
    (exceptions.NotFound, "not_found", 404),
    (Http404, "not_found", 404),
    (exceptions.MethodNotAllowed, "method_not_allowed", 405),
    (exceptions.NotAcceptable, "not_acceptable", 406),
    (BodyTimeout, "body_overdue", 408),
    (BodyTooLarge, "body_too_large", 413),
    (RequestDataTooBig, "body_too_large", 413),
    (UnsupportedEncoding, "unsupported_encoding", 415),
    (exceptions.UnsupportedMediaType, "unsupported_media_type", 415),
    (exceptions.Throttled, "throttled", 429),
    (NotAnObject, "not_an_object", 400),
    (exceptions.ParseError, "malformed_body", 400),
    (UnreadablePostError, "malformed_body", 400),
    (MultiPartParserError, "malformed_body", 400),
    (exceptions.ValidationError, "invalid", 400),
    (SuspiciousOperation, "bad_request", 400),
    (BadRequest, "bad_request", 400),
    # Also what `classify_database_error` does not know of: the same request may well succeed later.
    (OperationalError, "unavailable", 503),
    (InterfaceError, "unavailable", 503),
)
_MESSAGES = {
    "unsupported_encoding": f"Unsupported content encoding; supported are {' and '.join(SUPPORTED)}",
    "unauthenticated": "Unauthorized",
    "access_denied": "Forbidden",
    "not_found": "Not found",
    "method_not_allowed": "Method not allowed",
    "not_acceptable": "Not acceptable",
    "body_overdue": "The request body did not arrive in time",
    "body_too_large": "Request body too large",
    "unsupported_media_type": "Unsupported media type",
    "throttled": "Too many requests",
    "invalid": "Validation failed",
    "bad_request": "Bad request",
    "unavailable": "Service unavailable",
    "fault": "Internal server error",
}
_STATUSES = {"access_denied": 403, "workspace_not_found": 404, "unavailable": 503}


class ErrorTable:
    """A wire format's errors: code → status, message and body.

    `statuses`, `messages` and `bodies` are by code and override the common ones; a DomainError has its own
    code, and by default its own message and the status 400. `body` builds every body that `bodies` does not.
    """

    def __init__(
        self,
        body: BodyBuilder,
        *,
        statuses: Mapping[str, int] | None = None,
        messages: Mapping[str, str] | None = None,
        bodies: Mapping[str, BodyBuilder] | None = None,
        default_status: int = 400,
    ) -> None:
        self._body = body
        self._statuses = {**_STATUSES, **(statuses or {})}
        self._messages = dict(messages or {})
        self._bodies = dict(bodies or {})
        self._default_status = default_status

    def problem(self, error: Exception) -> Problem | None:
        """Return the refusal that `error` is, None for an exception that is a fault of ours."""
        if isinstance(error, UnreadablePostError):
            error = parsing_error_of(error)
        if isinstance(error, DomainError):
            return self._domain_problem(error)
        if isinstance(error, DatabaseError) and classify_database_error(error) is not None:
            return self._http_problem(error, "unavailable", 503)
        for kind, code, status in _CODES:
            if isinstance(error, kind):
                return self._http_problem(error, code, status)
        if isinstance(error, exceptions.APIException):
            return Problem(error.status_code, "error", str(error.detail), error)
        return None

    def fault(self, error: Exception) -> Problem:
        """Return what a fault of ours is to the client."""
        return Problem(500, "fault", self._messages.get("fault", _MESSAGES["fault"]), error)

    def response(self, problem: Problem) -> Response:
        """Return the answer to a refused request."""
        build = self._bodies.get(problem.code, self._body)
        return Response(build(problem), status=problem.status, headers=_headers(problem))

    def http_response(self, problem: Problem) -> HttpResponse:
        """Return the answer where no view of DRF's renders it."""
        response = self.response(problem)
        headers = {name: value for name, value in response.headers.items() if name != "Content-Type"}
        return HttpResponse(
            dumps(response.data),
            status=response.status_code,
            content_type=response.content_type or "application/json",
            headers=headers,
        )

    def _domain_problem(self, error: DomainError) -> Problem:
        return Problem(
            status=self._statuses.get(error.code, self._default_status),
            code=error.code,
            message=self._messages.get(error.code, error.message),
            error=error,
            details=getattr(error, "details", {}),
        )

    def _http_problem(self, error: Exception, code: str, status: int) -> Problem:
        message = self._messages.get(code) or _MESSAGES.get(code) or str(getattr(error, "detail", error))
        detail = error.detail if isinstance(error, exceptions.ValidationError) else {}
        return Problem(self._statuses.get(code, status), code, message, error, flatten(detail))


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Answer a refusal, or a fault of ours, by the view's `error_table`; DRF's hook."""
    table: ErrorTable = context["view"].error_table
    problem = table.problem(error) or table.fault(error)
    set_rollback()
    response = table.response(problem)
    report(problem, context["request"]._request, response)
    return response


def report(problem: Problem, request: HttpRequest, response: HttpResponse) -> None:
    """Log a failure with its traceback and tell of a fault, as Django does of what no view catches."""
    if problem.status < 500:
        return
    if problem.status == 500:
        got_request_exception.send(sender=None, request=request)
    log_response(
        "%s: %s",
        response.reason_phrase,
        request.path,
        response=response,
        request=request,
        exception=problem.error,
    )


def flatten(detail: Any, path: str = "") -> dict[str, list[str]]:
    """Return DRF's nested messages as one list per dotted path; what belongs to no field is under `body`."""
    if isinstance(detail, dict):
        return _merged(flatten(value, _joined(path, str(key))) for key, value in detail.items())
    if isinstance(detail, list) and any(isinstance(item, dict | list) for item in detail):
        return _merged(flatten(item, _joined(path, str(index))) for index, item in enumerate(detail) if item)
    messages = detail if isinstance(detail, list) else [detail]
    return {path or "body": [str(message) for message in messages]}


def _joined(path: str, key: str) -> str:
    if key == "non_field_errors":
        return path
    return f"{path}.{key}" if path else key


def _merged(parts: Any) -> dict[str, list[str]]:
    merged: dict[str, list[str]] = {}
    for part in parts:
        for path, messages in part.items():
            merged.setdefault(path, []).extend(messages)
    return merged


def _headers(problem: Problem) -> dict[str, str]:
    headers = {}
    if auth_header := getattr(problem.error, "auth_header", None):
        headers["WWW-Authenticate"] = str(auth_header)
    if problem.code == "unsupported_encoding":
        headers["Accept-Encoding"] = ", ".join(SUPPORTED)
    if problem.wait_seconds is not None:
        headers["Retry-After"] = str(problem.wait_seconds)
    return headers


def _native_body(problem: Problem) -> object:
    body: dict[str, object] = {"error": problem.message}
    if problem.details:
        body["details"] = problem.details
    return body


NATIVE_ERRORS = ErrorTable(
    _native_body,
    statuses={
        "api_key_not_found": 404,
        "broadcast_not_found": 404,
        "campaign_not_found": 404,
        "contact_not_found": 404,
        "definition_not_found": 404,
        "erasure_not_found": 404,
        "form_not_found": 404,
        "merge_not_found": 404,
        "message_not_found": 404,
        "run_not_found": 404,
        "scoring_rule_not_found": 404,
        "segment_not_found": 404,
        "suppression_not_found": 404,
        "template_not_found": 404,
        "not_found": 404,
        "origin_not_allowed": 403,
        "invalid_credentials": 401,
        "invalid_token": 401,
        "already_merged": 409,
        "broadcast_begun": 409,
        "broadcast_finished": 409,
        "campaign_exists": 409,
        "conflict": 409,
        "definition_exists": 409,
        "form_exists": 409,
        "idempotency_conflict": 409,
        "identifier_taken": 409,
        "merge_cycle": 409,
        "merge_under_way": 409,
        "merge_undone": 409,
        "message_not_unknown": 409,
        "person_erased": 409,
        "property_type_locked": 409,
        "segment_exists": 409,
        "segment_has_no_draft": 409,
        "segment_in_use": 409,
        "segment_is_dynamic": 409,
        "segment_is_static": 409,
        "segment_not_built": 409,
        "template_exists": 409,
        "template_in_use": 409,
        "wrong_campaign_status": 409,
        "message_refused": 422,
        "value_missing": 422,
    },
    messages={
        "definition_exists": "An event definition with this name already exists",
        "definition_not_found": "Event definition not found",
    },
)


_OAUTH_CODES = {
    "fault": "server_error",
    "unavailable": "temporarily_unavailable",
    "throttled": "temporarily_unavailable",
}

OAUTH_ERRORS = ErrorTable(lambda problem: {"error": _OAUTH_CODES.get(problem.code, "invalid_request")})
"""The errors of RFC 6749 and RFC 7009."""
