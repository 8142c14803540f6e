"""The WSGI application that granian serves."""

import os
import queue
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.checks.urls import check_resolver
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.urls import get_resolver

from config.bodies import with_body
from config.memory import settle
from config.orphans import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Hand the request to Django once it is there; the answer is whole, so no slow reader holds a thread."""
    request = with_body(environ)
    with _turn():
        response = _django(request, start_response)
        try:
            return [b"".join(response)]
        finally:
            response.close()


@contextmanager
def _turn() -> Iterator[None]:
    """Wait for a database connection, which the request has for itself.

    The server has more threads than there are connections, for those that wait for bodies.
    """
    lent = _free.get()
    connections["default"] = lent
    try:
        yield
    finally:
        _free.put(lent)


def _shareable_connection() -> BaseDatabaseWrapper:
    connection = connections.create_connection("default")
    connection.inc_thread_sharing()
    return connection


# The last one used comes first: its statements are prepared, and the others' connections may stay unmade.
_free: queue.LifoQueue[BaseDatabaseWrapper] = queue.LifoQueue()
for _ in range(settings.WEB_THREADS):
    _free.put(_shareable_connection())

if settings.IN_WEB:
    die_with_parent(signal.SIGTERM)
    # The routes bring in all the code that requests need.
    check_resolver(get_resolver())
    settle()
