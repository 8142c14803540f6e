"""Request ids: in the response, in each log line of the request, and in the tasks that follow from it."""

import os
import re
import secrets
from contextvars import ContextVar
from itertools import count
from typing import Any

HEADER = "X-Request-Id"
request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that the current work follows from; empty: none."""
_is_well_formed = re.compile(r"[A-Za-z0-9_.-]{1,64}").fullmatch


def assign_request_id(environ: dict[str, Any]) -> str:
    """Set this thread's `request_id`, the client's X-Request-Id if well formed, else new; return it."""
    given = environ.get("HTTP_X_REQUEST_ID")
    assigned = given if given is not None and _is_well_formed(given) else f"{_prefix}{next(_numbers):x}"
    request_id.set(assigned)
    return assigned


def _renew_prefix() -> None:
    global _prefix, _numbers  # a forked child has its own
    _prefix, _numbers = _new_prefix(), count(1)


def _new_prefix() -> str:
    return f"{secrets.token_hex(8)}-"


_prefix = _new_prefix()
_numbers = count(1)
os.register_at_fork(after_in_child=_renew_prefix)
