"""Repeating a request whose database connection broke, where the client cannot notice."""

from typing import Any

from config.db.connection_slots import ConnectionCheckout, ConnectionPool
from config.http.bodies import Environ, is_missing, rewind


def respond_with_retry(django: Any, request: Environ, start: Any, pool: ConnectionPool) -> Any:
    """Return Django's response; after a lost connection the request is handled once more, within its time."""
    checkout = pool.begin()
    response = django(request, start)
    if response.status_code != 503 or not _may_be_repeated(request, checkout):
        return response
    response.close()
    pool.end()
    pool.begin(deadline=checkout.deadline)
    rewind(request)
    return django(request, start)


def _may_be_repeated(request: Environ, checkout: ConnectionCheckout) -> bool:
    """Tell whether a request can be handled again as if nothing had happened."""
    if not checkout.is_lost() or checkout.is_over() or is_missing(request):
        return False
    # Some GET requests record a click or a visit, which may be committed by now.
    is_reading = request["REQUEST_METHOD"] in ("GET", "HEAD") and not checkout.has_committed
    return is_reading or checkout.is_untouched_by_database()
