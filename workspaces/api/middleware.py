"""Middleware of API requests, which skip what only pages need."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.core.exceptions import DisallowedHost
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.http.response import ResponseHeaders
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.urls import Resolver404, ResolverMatch, URLResolver, get_resolver

from config.db.connection_slots import PAGES, belongs_to, is_for
from config.http.page_headers import API_HEADERS, is_of_api
from config.observability.metrics.counters import dialect_of
from workspaces.authentication.sessions import close_session

Handler = Callable[[HttpRequest], Any]
_Headers = dict[str, tuple[str, str]]
_MOST_HOSTS = 1000
_LONGEST_HOST = 300
_MOST_PATHS = 1000
_LONGEST_PATH = 300


class ApiMiddleware:
    """Answers what a view of the API answers; the middleware after this is for pages.

    A view that wants a session opens one, see `workspaces.authentication.sessions`. Requests for another
    host, or that are to come by HTTPS, go on to Django's middleware, which refuses them; every answer has the
    headers that it would add.
    """

    def __init__(self, get_response: Handler) -> None:
        self._go_on = get_response
        self._answer = convert_exception_to_response(_answer)
        self._security = SecurityMiddleware(get_response)
        self._frames = XFrameOptionsMiddleware(get_response)
        self._added: dict[bool, _Headers] = {}
        # Names of ours that requests came with.
        self._hosts: set[str] = set()

    def __call__(self, request: HttpRequest) -> Any:
        """Answer the request."""
        path = request.path_info
        find = _match_in_api if len(path) <= _LONGEST_PATH else _match_in_api.__wrapped__
        match = find(get_resolver(), path)
        if match is None:
            belongs_to(PAGES)
            return self._go_on(request)
        if self._is_welcome(request):
            request.resolver_match = match
            response: Any = self._answer(request)
            _add(response, self._headers(request))
        else:
            response = self._go_on(request)
        response.dialect = dialect_of(match.func.cls)  # type: ignore[attr-defined]  # a view has it
        return response

    def _is_welcome(self, request: HttpRequest) -> bool:
        host = request.META.get("HTTP_HOST")
        if host not in self._hosts:
            try:
                request.get_host()
            except DisallowedHost:
                return False
            # Django allows any number of digits as the port, and where subdomains are ours a name of any
            # length.
            if host is not None and len(host) <= _LONGEST_HOST and len(self._hosts) < _MOST_HOSTS:
                self._hosts.add(host)
        return self._security.process_request(request) is None

    def _headers(self, request: HttpRequest) -> _Headers:
        """Return what Django's middleware adds to an answer, and what we do; whether it came by HTTPS matters."""
        is_secure = request.is_secure()
        if is_secure not in self._added:
            blank = HttpResponse()
            del blank.headers["Content-Type"]
            self._frames.process_response(request, blank)
            blank.headers["Content-Length"] = ""
            self._security.process_response(request, blank)
            for name, value in API_HEADERS.items():
                blank.headers[name] = value
            self._added[is_secure] = blank.headers._store
        return self._added[is_secure]


class _WireHeaders(ResponseHeaders):
    """Headers that are whole, and that the server takes as they are."""

    def __init__(self, store: _Headers) -> None:
        self._store = store

    def items(self) -> Any:
        """Return the pairs of name and value."""
        return self._store.values()


@lru_cache(maxsize=_MOST_PATHS)
def _match_in_api(resolver: URLResolver, path: str) -> ResolverMatch | None:
    """Return the API's view of a path. Senders come by few of them, and to resolve one takes a tenth of a send."""
    try:
        match = resolver.resolve(path)
    except Resolver404:
        return None
    return match if is_of_api(match) else None


def _answer(request: HttpRequest) -> HttpResponseBase:
    match: Any = request.resolver_match
    view = match.func.cls
    is_for(view, is_ingest=request.method == "POST" and view.claims_keys)
    response: HttpResponseBase = match.func(request, *match.args, **match.kwargs)
    if hasattr(request, "session"):
        close_session(request, response)
    return response


def _add(response: HttpResponseBase, added: _Headers) -> None:
    own = response.headers._store
    headers = {**own, **{name: header for name, header in added.items() if name not in own}}
    if "content-length" not in own:
        if isinstance(response, HttpResponse):
            headers["content-length"] = ("Content-Length", str(len(response.content)))
        else:
            del headers["content-length"]
    response.headers = _WireHeaders(headers)
