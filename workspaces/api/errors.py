"""Error tables: how each wire format spells each refusal."""

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
from config.errors import DomainError, ErrorKind
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
class Refusal:
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


BodyBuilder = Callable[[Refusal], object]

# What DRF and Django raise: its code, and its kind, or its status where only HTTP has such an error.
_CODES: tuple[tuple[type[Exception], str, ErrorKind | int], ...] = (
    (exceptions.NotAuthenticated, "unauthenticated", ErrorKind.UNAUTHENTICATED),
    (exceptions.AuthenticationFailed, "unauthenticated", ErrorKind.UNAUTHENTICATED),
    (exceptions.PermissionDenied, "access_denied", ErrorKind.FORBIDDEN),
    (PermissionDenied, "access_denied", ErrorKind.FORBIDDEN),
    (exceptions.NotFound, "not_found", ErrorKind.NOT_FOUND),
    (Http404, "not_found", ErrorKind.NOT_FOUND),
    (exceptions.MethodNotAllowed, "method_not_allowed", 405),
    (exceptions.NotAcceptable, "not_acceptable", 406),
    (BodyTimeout, "body_overdue", 408),
    (BodyTooLarge, "body_too_large", 413),
    (RequestDataTooBig, "body_too_large", 413),
    (UnsupportedEncoding, "unsupported_encoding", 415),
    (exceptions.UnsupportedMediaType, "unsupported_media_type", 415),
    (exceptions.Throttled, "throttled", 429),
    (NotAnObject, "not_an_object", ErrorKind.INVALID),
    (exceptions.ParseError, "malformed_body", ErrorKind.INVALID),
    (UnreadablePostError, "malformed_body", ErrorKind.INVALID),
    (MultiPartParserError, "malformed_body", ErrorKind.INVALID),
    (exceptions.ValidationError, "invalid", ErrorKind.INVALID),
    (SuspiciousOperation, "bad_request", ErrorKind.INVALID),
    (BadRequest, "bad_request", ErrorKind.INVALID),
    # Also what `classify_database_error` does not know of: the same request may well succeed later.
    (OperationalError, "unavailable", ErrorKind.UNAVAILABLE),
    (InterfaceError, "unavailable", ErrorKind.UNAVAILABLE),
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
_STATUSES: Mapping[ErrorKind | str, int] = {
    ErrorKind.INVALID: 400,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.FORBIDDEN: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.CONFLICT: 409,
    ErrorKind.UNPROCESSABLE: 422,
    ErrorKind.UNAVAILABLE: 503,
}


class ErrorTable:
    """A wire format's errors: kind or code → status, message and body.

    `statuses` override the common ones, by kind, and by code where a single error differs from its kind.
    `messages` and `bodies` are by code; a DomainError has by default its own message, and `body` builds every
    body that `bodies` does not.
    """

    def __init__(
        self,
        body: BodyBuilder,
        *,
        statuses: Mapping[ErrorKind | str, int] | None = None,
        messages: Mapping[str, str] | None = None,
        bodies: Mapping[str, BodyBuilder] | None = None,
    ) -> None:
        self._body = body
        self._statuses = {**_STATUSES, **(statuses or {})}
        self._messages = dict(messages or {})
        self._bodies = dict(bodies or {})

    def refusal(self, error: Exception) -> Refusal | None:
        """Return the refusal that `error` is, None for an exception that is a fault of ours."""
        if isinstance(error, UnreadablePostError):
            error = parsing_error_of(error)
        if isinstance(error, DomainError):
            return self._domain_refusal(error)
        if isinstance(error, DatabaseError) and classify_database_error(error) is not None:
            return self._http_refusal(error, "unavailable", ErrorKind.UNAVAILABLE)
        for error_class, code, kind in _CODES:
            if isinstance(error, error_class):
                return self._http_refusal(error, code, kind)
        if isinstance(error, exceptions.APIException):
            return Refusal(error.status_code, "error", str(error.detail), error)
        return None

    def fault(self, error: Exception) -> Refusal:
        """Return what a fault of ours is to the client."""
        return Refusal(500, "fault", self._messages.get("fault", _MESSAGES["fault"]), error)

    def response(self, refusal: Refusal) -> Response:
        """Return the answer to a refused request."""
        build = self._bodies.get(refusal.code, self._body)
        return Response(build(refusal), status=refusal.status, headers=_headers(refusal))

    def http_response(self, refusal: Refusal) -> HttpResponse:
        """Return the answer where no view of DRF's renders it."""
        response = self.response(refusal)
        headers = {name: value for name, value in response.headers.items() if name != "Content-Type"}
        return HttpResponse(
            dumps(response.data),
            status=response.status_code,
            content_type=response.content_type or "application/json",
            headers=headers,
        )

    def _domain_refusal(self, error: DomainError) -> Refusal:
        return Refusal(
            status=self._status(error.code, error.error_kind),
            code=error.code,
            message=self._messages.get(error.code, error.message),
            error=error,
            details=getattr(error, "details", {}),
        )

    def _http_refusal(self, error: Exception, code: str, kind: ErrorKind | int) -> Refusal:
        message = self._messages.get(code) or _MESSAGES.get(code) or str(getattr(error, "detail", error))
        detail = error.detail if isinstance(error, exceptions.ValidationError) else {}
        return Refusal(self._status(code, kind), code, message, error, flatten(detail))

    def _status(self, code: str, kind: ErrorKind | int) -> int:
        by_kind = kind if isinstance(kind, int) else self._statuses[kind]
        return self._statuses.get(code, by_kind)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Answer a refusal, or a fault of ours, by the view's `error_table`; DRF's hook."""
    table: ErrorTable = context["view"].error_table
    refusal = table.refusal(error) or table.fault(error)
    set_rollback()
    response = table.response(refusal)
    report(refusal, context["request"]._request, response)
    return response


def report(refusal: Refusal, request: HttpRequest, response: HttpResponse) -> None:
    """Log a failure with its traceback and tell of a fault, as Django does of what no view catches."""
    if refusal.status < 500:
        return
    if refusal.status == 500:
        got_request_exception.send(sender=None, request=request)
    log_response(
        "%s: %s",
        response.reason_phrase,
        request.path,
        response=response,
        request=request,
        exception=refusal.error,
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


def _headers(refusal: Refusal) -> dict[str, str]:
    headers = {}
    if auth_header := getattr(refusal.error, "auth_header", None):
        headers["WWW-Authenticate"] = str(auth_header)
    if refusal.code == "unsupported_encoding":
        headers["Accept-Encoding"] = ", ".join(SUPPORTED)
    if refusal.wait_seconds is not None:
        headers["Retry-After"] = str(refusal.wait_seconds)
    return headers


def _native_body(refusal: Refusal) -> object:
    body: dict[str, object] = {"error": refusal.message}
    if refusal.details:
        body["details"] = refusal.details
    return body


NATIVE_ERRORS = ErrorTable(_native_body, statuses={"file_too_large": 413, "length_required": 411})

_OAUTH_CODES = {
    "fault": "server_error",
    "unavailable": "temporarily_unavailable",
    "throttled": "temporarily_unavailable",
}

OAUTH_ERRORS = ErrorTable(lambda refusal: {"error": _OAUTH_CODES.get(refusal.code, "invalid_request")})
"""The errors of RFC 6749 and RFC 7009."""
