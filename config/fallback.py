"""What is answered where no view answers: a refusal in the format of the path's API, not Django's page."""

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest, HttpResponseBase, UnreadablePostError
from django.shortcuts import render
from django.urls import Resolver404, resolve
from django.utils.log import log_response
from django.views import defaults
from rest_framework.exceptions import NotFound, Throttled
from rest_framework.request import Request

from workspaces.api.errors import NATIVE_ERRORS, ErrorTable
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


class RefusalMiddleware:
    """Answers what a page refuses by raising it, and is no fault of ours.

    A body that cannot be read, of a client that is gone, say; and one who tries too often, to sign in, say.
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
        if not isinstance(exception, UnreadablePostError):
            return None
        response = bad_request(request, exception)
        log_response(
            "Unreadable body: %s",
            request.path,
            response=response,  # type: ignore[arg-type]  # any response has a status
            request=request,
            level="error",
        )
        return response


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
    """Answer a fault outside the views; it is logged already."""
    table = _error_table(request)
    return defaults.server_error(request) if table is None else _answer(table, Exception())


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


def _answer(table: ErrorTable, error: Exception) -> HttpResponseBase:
    return table.http_response(table.problem(error) or table.fault(error))
