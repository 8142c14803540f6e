"""The WSGI application: admission, request id, request body, database connections, metrics and access log."""

from collections import deque
from collections.abc import Iterable
from functools import partial
from time import perf_counter
from typing import Any

from django.conf import settings
from django.core.checks.urls import check_resolver
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries
from django.urls import get_resolver

from config.db.connection_slots import ConnectionPool
from config.http.access_log import log_access
from config.http.bodies import Environ, await_body
from config.http.refusals import has_unreadable_headers, refuse_headers, refuse_overload
from config.http.repetition import respond_with_retry
from config.http.spooled_responses import SpooledResponse
from config.observability.metrics.counters import requests
from config.observability.request_ids import HEADER, assign_request_id
from config.runtime.garbage_collection import freeze_loaded_objects

_django: Any = get_wsgi_application()


def application(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Answer a request; beyond WEB_REQUESTS at a time 503, but probes always."""
    if has_unreadable_headers(environ):
        return refuse_headers(environ, start_response)
    try:
        place = _places.pop()
    except IndexError:
        if environ["PATH_INFO"] in settings.PROBES:
            return _respond(environ, start_response)
        return refuse_overload(environ, start_response)
    response: Iterable[bytes] = ()
    try:
        response = _respond(environ, start_response)
        return response
    finally:
        if isinstance(response, SpooledResponse):
            # Streaming it keeps a thread busy.
            response.when_closed(partial(_places.append, place))
        else:
            _places.append(place)


def _respond(environ: Environ, start_response: Any) -> Iterable[bytes]:
    """Hand the request to Django once its body has arrived, and return the whole response.

    So a slow reader holds no thread. Only a response too large for memory is streamed, from a file and
    without a database connection.
    """
    request_id = assign_request_id(environ)

    def start(status: str, headers: list[tuple[str, str]]) -> Any:
        headers.append((HEADER, request_id))
        return start_response(status, headers)

    request = await_body(environ)
    began = perf_counter()
    try:
        response = respond_with_retry(_django, request, start, _pool)
        is_spooled = isinstance(response, SpooledResponse)
        try:
            return response if is_spooled else [b"".join(response)]
        finally:
            if not is_spooled:
                response.close()
            seconds = perf_counter() - began
            requests.add((getattr(response, "dialect", "page"), response.status_code, seconds))
            if settings.ACCESS_LOG:
                log_access(environ, response, seconds)
    finally:
        _pool.end()


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
    # The pool tests connections when it lends them, so no request does at its beginning or end.
    request_started.disconnect(reset_queries)
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    # Loading the routes loads all code that requests need.
    check_resolver(get_resolver())
    freeze_loaded_objects()
