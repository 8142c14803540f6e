"""Read once what stays as it is during a piece of work, where many services in turn would each read it again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")
_found: ContextVar[dict[Any, Any] | None] = ContextVar("found", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Have functions that are `read_once` read once. Nothing may change in here what they read."""
    token = _found.set({})
    try:
        yield
    finally:
        _found.reset(token)


def is_reading_once() -> bool:
    """Return whether what is read is read for many: then all of it in one statement rather than each by itself."""
    return _found.get() is not None


def read_once(read: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return the function, which within `reading_once` reads once what it is asked for."""

    @wraps(read)
    def reading(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        found = _found.get()
        if found is None:
            return read(*args, **kwargs)
        key = (read, args, tuple(sorted(kwargs.items())))
        if key not in found:
            found[key] = read(*args, **kwargs)
        value: _T = found[key]
        return value

    return reading
