"""The source of time for every timestamp and id; tests replace it, rehearsals set it."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime

_virtual: ContextVar[datetime | None] = ContextVar("virtual_now", default=None)


def now() -> datetime:
    """Return the current time, aware, in UTC."""
    return _virtual.get() or datetime.now(UTC)


@contextmanager
def virtual(moment: datetime) -> Iterator[None]:
    """Stop the clock at a moment, for the code that runs in this context."""
    token = _virtual.set(moment)
    try:
        yield
    finally:
        _virtual.reset(token)
