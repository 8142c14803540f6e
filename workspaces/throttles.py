"""Rate limits per credential: off unless the credential says otherwise, and never a reason for a failure."""

import logging
import math
import time
from dataclasses import dataclass
from functools import cache, lru_cache
from threading import Lock

from django.conf import settings
from django.core.signals import setting_changed
from limits import RateLimitItem
from limits.errors import StorageError
from limits.storage import MemoryStorage, storage_from_string
from limits.strategies import MovingWindowRateLimiter
from rest_framework.exceptions import Throttled

from workspaces.rates import OFF, VENDOR, parse_rate

logger = logging.getLogger(__name__)

_STORAGE_TIMEOUT_SECONDS = 0.25
_PAUSE_AFTER_FAILURE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ThrottleState:
    """A credential's budget after this request; `reset` is in seconds since the epoch."""

    limit: int
    remaining: int
    reset: int
    wait_seconds: int = 0


def hit(identity: str, rate_limit: str, vendor_rate: str) -> ThrottleState | None:
    """Count a request of `identity` and return what is left; None where no limit holds.

    `wait_seconds` is above zero when the request is one too many.
    """
    rate = vendor_rate if rate_limit == VENDOR else rate_limit
    if rate == OFF:
        return None
    try:
        return _hit(_item(rate), identity)
    except StorageError:
        _circuit.open()
        logger.warning("The rate limit storage does not answer; limits are off for seconds.", exc_info=True)
        return None


def throttled(state: ThrottleState) -> Throttled:
    """Return the refusal of a request that was one too many."""
    return Throttled(wait=state.wait_seconds)


class _Circuit:
    """Keeps a broken storage from costing every request its time-out."""

    def __init__(self) -> None:
        self._open_until = 0.0

    def open(self) -> None:
        self._open_until = time.monotonic() + _PAUSE_AFTER_FAILURE_SECONDS

    def close(self) -> None:
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until


_circuit = _Circuit()
_building = Lock()


def _hit(item: RateLimitItem, identity: str) -> ThrottleState | None:
    if _circuit.is_open:
        return None
    with _building:
        limiter = _limiter()
    shares = _shares(limiter)
    share = _share(item, shares)
    allowed = limiter.hit(share, identity)
    stats = limiter.get_window_stats(share, identity)
    wait = 0 if allowed else max(math.ceil(stats.reset_time - time.time()), 1)
    return ThrottleState(
        limit=item.amount,
        remaining=min(stats.remaining * shares, item.amount) if allowed else 0,
        reset=math.ceil(stats.reset_time),
        wait_seconds=wait,
    )


@cache
def _limiter() -> MovingWindowRateLimiter:
    url: str = settings.RATE_LIMIT_STORAGE_URL
    options: dict[str, float | str | bool] = {"wrap_exceptions": True}
    if url.startswith("redis"):
        options |= {
            "socket_timeout": _STORAGE_TIMEOUT_SECONDS,
            "socket_connect_timeout": _STORAGE_TIMEOUT_SECONDS,
        }
    try:
        storage = storage_from_string(url, **options)
    except OSError as error:
        raise StorageError(error) from error
    return MovingWindowRateLimiter(storage)


def _shares(limiter: MovingWindowRateLimiter) -> int:
    """Without a shared storage, each web process keeps its share of the limit."""
    if not isinstance(limiter.storage, MemoryStorage):
        return 1
    return max(int(getattr(settings, "RATE_LIMIT_PROCESSES", 1)), 1)


@lru_cache(maxsize=1024)
def _item(rate: str) -> RateLimitItem:
    return parse_rate(rate)


@lru_cache(maxsize=1024)
def _share(item: RateLimitItem, shares: int) -> RateLimitItem:
    if shares == 1:
        return item
    return type(item)(max(item.amount // shares, 1), item.multiples)


def reset_limits() -> None:
    """Forget the storage and its counts: for tests, and when the setting changes."""
    _limiter.cache_clear()
    _circuit.close()


def _forget_storage(*, setting: str, **_: object) -> None:
    if setting == "RATE_LIMIT_STORAGE_URL":
        reset_limits()


setting_changed.connect(_forget_storage, dispatch_uid="workspaces.throttles.forget_storage")
