"""Errors for paths without a view, in the format of the path's API instead of Django's page."""

import sys
from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, UnreadablePostError
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils.log import log_response
from django.views import defaults
from rest_framework.exceptions import NotFound, Throttled
from rest_framework.request import Request

from config.errors import Overloaded
from workspaces.api.errors import NATIVE_ERRORS, RETRY_SECONDS, ErrorTable
from workspaces.api.native import NativePublicView


class NoSuchRoute(NativePublicView):
    """Answers 404 to any method."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse before a method is looked for."""
        raise NotFound


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer what Django itself refuses, such as a Host header that is not ours."""
    table = _error_table(request)
    return defaults.bad_request(request, exception) if table is None else _answer(table, exception)


class ErrorMiddleware:
    """Answers what a page refuses by raising it, and is no fault of ours.

    A body that cannot be read, of a client that is gone, say; one who tries too often, to sign in, say; and
    what the database could not do now.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        return self._get_response(request)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Answer what the view did not."""
        if isinstance(exception, Throttled):
            return _too_many_requests(request, exception)
        if isinstance(exception, UnreadablePostError):
            response: Any = bad_request(request, exception)
            log_response(
                "Unreadable body: %s", request.path, response=response, request=request, level="error"
            )
            return response  # type: ignore[no-any-return]  # the stubs want another type logged
        if _is_passing(exception):
            response = unavailable_page()
            log_response(
                "%s: %s",
                response.reason_phrase,
                request.path,
                response=response,
                request=request,
                exception=exception,
            )
            return response  # type: ignore[no-any-return]
        return None


def _too_many_requests(request: HttpRequest, exception: Throttled) -> HttpResponseBase:
    seconds = max(int(getattr(exception, "wait", None) or 1), 1)
    response = render(request, "workspaces/throttled.html", {"seconds": seconds}, status=429)
    response.headers["Retry-After"] = str(seconds)
    return response


def page_not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    """Answer a path that no route knows."""
    table = _error_table(request)
    return defaults.page_not_found(request, exception) if table is None else _answer(table, exception)


def server_error(request: HttpRequest) -> HttpResponseBase:
    """Answer a fault outside the views; it is logged already. What the database could not do now is a 503."""
    error = sys.exception()
    if not isinstance(error, Exception):
        error = Exception()
    table = _error_table(request)
    if table is not None:
        return _answer(table, error)
    return unavailable_page() if _is_passing(error) else defaults.server_error(request)


def overloaded(request: HttpRequest) -> HttpResponse:
    """Answer that too many requests are being answered."""
    table = _error_table(request)
    return unavailable_page() if table is None else _answer(table, Overloaded())


def unavailable_page() -> HttpResponse:
    """Return the page that tells to come back in a moment."""
    return HttpResponse(
        _UNAVAILABLE, status=503, headers={"Retry-After": str(RETRY_SECONDS), "Cache-Control": "no-store"}
    )


_UNAVAILABLE = """<!doctype html>
<html lang="en">
<head><title>Service unavailable</title></head>
<body><h1>Service unavailable</h1><p>Headrace cannot do this right now. Try again in a moment.</p></body>
</html>
"""


def _is_passing(error: Exception) -> bool:
    refusal = NATIVE_ERRORS.refusal(error)
    return refusal is not None and refusal.status == 503


def _error_table(request: HttpRequest) -> ErrorTable | None:
    """Return the table of the API that a request is for, None for a page."""
    try:
        match = resolve(request.path_info)
    except Resolver404:
        # Nobody's path: whoever reads pages gets one.
        return None if "text/html" in request.META.get("HTTP_ACCEPT", "") else NATIVE_ERRORS
    view = getattr(match.func, "view_class", getattr(match.func, "cls", None))
    table: ErrorTable | None = getattr(view, "error_table", None)
    return table


def _answer(table: ErrorTable, error: Exception) -> HttpResponse:
    return table.http_response(table.refusal(error) or table.fault(error))
