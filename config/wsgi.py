"""The WSGI application that granian serves."""

import os
import signal
from typing import Any

from django.conf import settings
from django.core.checks.urls import check_resolver
from django.core.wsgi import get_wsgi_application
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
    die_with_parent(signal.SIGTERM)
    # The routes bring in all the code that requests need.
    check_resolver(get_resolver())
    settle()
