"""Responses to requests that Django does not get to see: unreadable headers, too many requests."""

import io
from collections.abc import Callable
from typing import Any

from django.core.handlers.wsgi import WSGIRequest
from django.urls import get_resolver

from config.http.bodies import Environ
from config.observability.metrics.counters import requests
from config.observability.request_ids import HEADER, assign_request_id

_LONGEST_HEADER = 1_000
"""Bytes of headers that Django parses in quadratic time."""


def has_unreadable_headers(environ: Environ) -> bool:
    """Tell whether a header is too long for Django's slow parsers, or crashes them (RFC 8187 parameters)."""
    content_type = environ.get("CONTENT_TYPE", "")
    if len(content_type) > _LONGEST_HEADER or "*=" in content_type:
        return True
    return "HTTP_IF_NONE_MATCH" in environ and len(environ["HTTP_IF_NONE_MATCH"]) > _LONGEST_HEADER


def refuse_headers(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    """Answer 431; the request is read no further."""
    body = b'{"error": "Request headers too large or malformed"}'
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("431 Request Header Fields Too Large", [*headers, (HEADER, assign_request_id(environ))])
    requests.add(("page", 431, 0.0))
    return [body]


def refuse_overload(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
    """Answer 503 in the format of the path's API; the body is not read."""
    request = WSGIRequest({**environ, "wsgi.input": io.BytesIO()})
    response: Any = get_resolver().resolve_error_handler(503)(request)
    headers = [*response.items(), (HEADER, assign_request_id(environ))]
    start_response(f"503 {response.reason_phrase}", headers)
    requests.add((getattr(response, "dialect", "page"), 503, 0.0))
    return [response.content]
