"""Rate limits per credential; a broken storage never fails a request."""

import logging
import math
import time
from dataclasses import dataclass
from functools import cache, lru_cache
from threading import Lock, Timer

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
_FORGETTING_SECONDS = 10.0
_PAUSE_AFTER_FAILURE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ThrottleState:
    """A credential's remaining budget; `reset` is in seconds since 1970."""

    limit: int
    remaining: int
    reset: int
    wait_seconds: int = 0


def hit(identity: str, rate_limit: str, vendor_rate: str) -> ThrottleState | None:
    """Count a request of `identity` and return the remaining budget; None without a limit.

    `wait_seconds` is above zero when the request is one too many.
    """
    rate = vendor_rate if rate_limit == VENDOR else rate_limit
    if rate == OFF:
        return None
    try:
        return _hit(_item(rate), identity)
    except StorageError as error:
        _pause(error)
        return None


def is_used_up(identity: str, rate: str) -> int:
    """Return the seconds until `identity` has budget again, 0 if it has some; nothing is counted."""
    try:
        return _wait(_item(rate), identity)
    except StorageError as error:
        _pause(error)
        return 0


def throttled(wait_seconds: int) -> Throttled:
    """Return the error for a request beyond the limit."""
    return Throttled(wait=wait_seconds)


class _Circuit:
    """A circuit breaker: a broken storage costs only some requests its time-out."""

    def __init__(self) -> None:
        self._open_until = 0.0

    def open(self) -> None:
        self._open_until = time.monotonic() + _PAUSE_AFTER_FAILURE_SECONDS

    def close(self) -> None:
        self._open_until = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._open_until


class _Memory(MemoryStorage):
    """In-memory counts that expire by themselves: the library scans all of them after each request."""

    def _MemoryStorage__schedule_expiry(self) -> None:  # noqa: N802  # the library's private name
        if not self.timer.is_alive():
            self.timer = Timer(_FORGETTING_SECONDS, self._MemoryStorage__expire_events)  # type: ignore[attr-defined]
            self.timer.daemon = True
            self.timer.start()


_circuit = _Circuit()
_building = Lock()


def _pause(error: StorageError) -> None:
    _circuit.open()
    logger.warning("The rate limit storage does not answer; limits are off for seconds.", exc_info=error)


def _wait(item: RateLimitItem, identity: str) -> int:
    if _circuit.is_open:
        return 0
    limiter, share, _ = _budget(item)
    if limiter.test(share, identity):
        return 0
    return max(math.ceil(limiter.get_window_stats(share, identity).reset_time - time.time()), 1)


def _budget(item: RateLimitItem) -> tuple[MovingWindowRateLimiter, RateLimitItem, int]:
    """Return the limiter, this process's share of the limit, and the number of processes that share it."""
    with _building:
        limiter = _limiter()
    shares = _shares(limiter)
    return limiter, _share(item, shares), shares


def _hit(item: RateLimitItem, identity: str) -> ThrottleState | None:
    if _circuit.is_open:
        return None
    limiter, share, shares = _budget(item)
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
        storage = _Memory() if url.startswith("memory") else storage_from_string(url, **options)
    except OSError as error:
        raise StorageError(error) from error
    return MovingWindowRateLimiter(storage)


def _shares(limiter: MovingWindowRateLimiter) -> int:
    """Return among how many web processes a limit is divided: without shared storage each has its share."""
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
    """Reset the storage and its counts: for tests, and when the setting changes."""
    _limiter.cache_clear()
    _circuit.close()


def _forget_storage(*, setting: str, **_: object) -> None:
    if setting == "RATE_LIMIT_STORAGE_URL":
        reset_limits()


setting_changed.connect(_forget_storage, dispatch_uid="workspaces.throttles.forget_storage")
