"""The WSGI application that granian serves."""

import os
import signal
from typing import Any

from django.conf import settings
from django.core.checks.urls import check_resolver
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections, reset_queries
from django.urls import get_resolver

from config.bodies import with_body
from config.lending import ConnectionLender
from config.memory import settle
from config.orphans import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Hand the request to Django once it is there; the answer is whole, so no slow reader holds a thread."""
    request = with_body(environ)
    with _lender.request():
        response = _django(request, start_response)
        try:
            return [b"".join(response)]
        finally:
            response.close()


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
