"""The WSGI application that granian serves."""

import io
import os
import signal
from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core.wsgi import get_wsgi_application

from config.orphans import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Hand the request to Django."""
    return _django(with_known_length(environ), start_response)


def with_known_length(environ: dict[str, Any]) -> dict[str, Any]:
    """Return the request with the length of a body sent in chunks, which Django would take for an empty one."""
    if "HTTP_TRANSFER_ENCODING" not in environ:
        return environ
    # One byte more than is allowed: enough for the refusal.
    body = environ["wsgi.input"].read(settings.MAX_BODY_BYTES + 1)
    return {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}


if settings.IN_WEB:
    die_with_parent(signal.SIGTERM)
