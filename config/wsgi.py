"""The WSGI application that granian serves."""

import logging
import os
import signal
from time import perf_counter
from typing import Any

from django.conf import settings
from django.core.checks.urls import check_resolver
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries
from django.urls import get_resolver

from config.bodies import with_body
from config.lending import ConnectionLender
from config.logs import shown_path
from config.memory import settle
from config.metrics.figures import requests
from config.orphans import die_with_parent
from config.request_ids import HEADER, begin_request

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Hand the request to Django once it is there; the answer is whole, so no slow reader holds a thread."""
    request_id = begin_request(environ)

    def start(status: str, headers: list[tuple[str, str]]) -> Any:
        headers.append((HEADER, request_id))
        return start_response(status, headers)

    request = with_body(environ)
    began = perf_counter()
    with _lender.request():
        response = _django(request, start)  # type: ignore[arg-type]  # Django gives it no more
        try:
            return [b"".join(response)]
        finally:
            response.close()
            seconds = perf_counter() - began
            requests.add((getattr(response, "dialect", "page"), response.status_code, seconds))
            if settings.ACCESS_LOG:
                _log_access(environ, response, seconds)


def _log_access(environ: dict[str, Any], response: Any, seconds: float) -> None:
    method, path = environ["REQUEST_METHOD"], shown_path(environ.get("PATH_INFO", ""))
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


access = logging.getLogger("headrace.access")
_lender = ConnectionLender(settings.WEB_THREADS)

if settings.IN_WEB:
    # Whoever borrows a connection looks whether it is sound, not each request at either end.
    request_started.disconnect(reset_queries)
    request_started.disconnect(close_old_connections)
    request_finished.disconnect(close_old_connections)
    die_with_parent(signal.SIGTERM)
    # The routes bring in all the code that requests need.
    check_resolver(get_resolver())
    settle()
