"""The id of a request: in its answer's header, in every line logged for it, and in the tasks that follow from it."""

import os
import re
import secrets
from contextvars import ContextVar
from itertools import count
from typing import Any

HEADER = "X-Request-Id"
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that this work follows from; empty: none."""
_is_sane = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch


def begin_request(environ: dict[str, Any]) -> str:
    """Return the id that the request came with, where it is a good one, else a new one; this thread has it now."""
    told = environ.get("HTTP_X_REQUEST_ID")
    own = told if told is not None and _is_sane(told) else f"{_prefix}{next(_numbers):x}"
    request_id.set(own)
    return own


def _start_afresh() -> None:
    global _prefix, _numbers  # of a process, and of a child that is forked from it
    _prefix, _numbers = _new_prefix(), count(1)


def _new_prefix() -> str:
    return f"{secrets.token_hex(8)}-"


_prefix = _new_prefix()
_numbers = count(1)
os.register_at_fork(after_in_child=_start_afresh)
