"""The WSGI application that granian serves."""

import io
import logging
from collections import deque
from collections.abc import Iterable
from functools import partial
from time import perf_counter
from typing import Any

from django.conf import settings
from django.core.checks.urls import check_resolver
from django.core.handlers.wsgi import WSGIRequest
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries
from django.urls import get_resolver

from config.db.connection_slots import ConnectionCheckout, ConnectionPool
from config.http.bodies import Environ, await_body, is_missing, rewind
from config.http.spooled_responses import SpooledResponse
from config.observability.logs import redacted_path
from config.observability.metrics.counters import requests
from config.observability.request_ids import HEADER, begin_request
from config.runtime.garbage_collection import settle

_django = get_wsgi_application()
_LONGEST_HEADER = 1_000
"""Bytes of those that are read in a time that grows with the square."""


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer a request, unless so many are being answered that no thread would be left to say so; probes always."""
    if _has_odd_headers(environ):
        return _reject_headers(environ, start_response)
    try:
        place = _places.pop()
    except IndexError:
        if environ["PATH_INFO"] in settings.PROBES:
            return _answer(environ, start_response)
        return _refuse(environ, start_response)
    answer: Iterable[bytes] = ()
    try:
        answer = _answer(environ, start_response)
        return answer
    finally:
        if isinstance(answer, SpooledResponse):
            # Its thread is busy until it is read.
            answer.when_closed(partial(_places.append, place))
        else:
            _places.append(place)


def _has_odd_headers(environ: Environ) -> bool:
    """Tell whether what Django reads slowly is too long, or of a spelling that it fails on (RFC 8187)."""
    content_type = environ.get("CONTENT_TYPE", "")
    if len(content_type) > _LONGEST_HEADER or "*=" in content_type:
        return True
    return "HTTP_IF_NONE_MATCH" in environ and len(environ["HTTP_IF_NONE_MATCH"]) > _LONGEST_HEADER


def _reject_headers(environ: Environ, start_response: Any) -> list[bytes]:
    """Answer that headers cannot be read; the request is read no further."""
    body = b'{"error": "Request headers too large or malformed"}'
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("431 Request Header Fields Too Large", [*headers, (HEADER, begin_request(environ))])
    requests.add(("page", 431, 0.0))
    return [body]


def _answer(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Hand the request to Django once it is there; the answer is whole, so no slow reader holds a thread.

    But for one that is too large: it is streamed from its file, without a connection to the database.
    """
    request_id = begin_request(environ)

    def start(status: str, headers: list[tuple[str, str]]) -> Any:
        headers.append((HEADER, request_id))
        return start_response(status, headers)

    request = await_body(environ)
    began = perf_counter()
    checkout = _pool.begin()
    try:
        response: Any = _django(request, start)  # type: ignore[arg-type]  # Django gives it no more
        if response.status_code == 503 and _may_be_repeated(request, checkout):
            response.close()
            _pool.end()
            _pool.begin(deadline=checkout.deadline)
            rewind(request)
            response = _django(request, start)  # type: ignore[arg-type]
        is_spooled = isinstance(response, SpooledResponse)
        try:
            return response if is_spooled else [b"".join(response)]
        finally:
            if not is_spooled:
                response.close()
            seconds = perf_counter() - began
            requests.add((getattr(response, "dialect", "page"), response.status_code, seconds))
            if settings.ACCESS_LOG:
                _log_access(environ, response, seconds)
    finally:
        _pool.end()


def _log_access(environ: dict[str, Any], response: Any, seconds: float) -> None:
    method, path = environ["REQUEST_METHOD"], redacted_path(environ.get("PATH_INFO", ""))
    fields = {
        "method": method,
        "path": path,
        "status": response.status_code,
        "dialect": getattr(response, "dialect", "page"),
        "milliseconds": round(seconds * 1000, 1),
    }
    access.info(
        "%s %s %s in %.1f ms", method, path, response.status_code, seconds * 1000, extra={"fields": fields}
    )


def _may_be_repeated(request: Environ, checkout: ConnectionCheckout) -> bool:
    """Tell whether a request whose connection to the database broke can be answered as if nothing had been."""
    if not checkout.is_lost() or checkout.is_over() or is_missing(request):
        return False
    # Some of those that only read note that somebody was there, a click say; it may be noted by now.
    is_reading = request["REQUEST_METHOD"] in ("GET", "HEAD") and not checkout.has_committed
    return is_reading or checkout.is_untouched_by_database()


def _refuse(environ: Environ, start_response: Any) -> list[bytes]:
    """Answer that there are too many requests; the body is left unread."""
    request = WSGIRequest({**environ, "wsgi.input": io.BytesIO()})
    response: Any = get_resolver().resolve_error_handler(503)(request)
    headers = [*response.items(), (HEADER, begin_request(environ))]
    start_response(f"503 {response.reason_phrase}", headers)
    requests.add((getattr(response, "dialect", "page"), 503, 0.0))
    return [response.content]


access = logging.getLogger("headrace.access")
_places = deque(range(settings.WEB_REQUESTS))
_pool = ConnectionPool(
    settings.WEB_THREADS,
    ingest=settings.WEB_INGEST_CONNECTIONS,
    share=settings.WEB_WORKSPACE_CONNECTIONS,
    wait_seconds=settings.WEB_WAIT_SECONDS,
    most_waiting=settings.WEB_WAITING,
    most_of_workspace=settings.WEB_WORKSPACE_REQUESTS,
    request_seconds=settings.WEB_REQUEST_SECONDS,
)
requests.connections = _pool.state

if settings.IN_WEB:
    # Whoever borrows a connection looks whether it is sound, not each request at either end.
    request_started.disconnect(reset_queries)
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    # The routes bring in all the code that requests need.
    check_resolver(get_resolver())
    settle()
