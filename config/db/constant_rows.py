"""Read rows once, in a block in which they do not change."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Final, ParamSpec, TypeVar

_P = ParamSpec("_P")
_Result = TypeVar("_Result")

_MOST: Final = 10_000
_known: ContextVar[dict[Hashable, Any] | None] = ContextVar("constant_rows", default=None)


def constant_in_rehearsals(function: Callable[_P, _Result]) -> Callable[_P, _Result]:
    """Let `constant_rows` remember what a function returns, by its arguments; callers don't change the result."""

    @wraps(function)
    def read(*args: _P.args, **kwargs: _P.kwargs) -> _Result:
        known = _known.get()
        if known is None:
            return function(*args, **kwargs)
        key = (function, args, tuple(kwargs.items()))
        if key not in known:
            if len(known) > _MOST:
                known.clear()
            known[key] = function(*args, **kwargs)
        result: _Result = known[key]
        return result

    return read


@contextmanager
def constant_rows() -> Iterator[None]:
    """Call each function that is marked so only once with the same arguments, in this block."""
    token = _known.set({})
    try:
        yield
    finally:
        _known.reset(token)
