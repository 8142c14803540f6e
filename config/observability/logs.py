"""How the log looks: what is refused is a line, what we broke has its traceback; nobody's data is in either.

Whoever logs an error logs what it says, and libraries put into that what they were given: so values in quotes, e-mail
addresses, the details of PostgreSQL's errors, and of addresses all but the host are left out. A traceback has no
values of variables, and of a request's path it is the route that is shown.
"""

import copy
import logging
import re
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from types import TracebackType
from typing import Any
from uuid import UUID

import orjson
from django.http import HttpRequest
from django.urls import URLResolver, get_resolver

from config.errors import DomainError
from config.observability.metrics import PROGRAM
from config.observability.request_ids import request_id

_FAULT = 500
_UNAVAILABLE = 503
_LINE_BREAKS = {ord("\n"): "\\n", ord("\r"): "\\r"}
_LEFT_OUT = "…"
_LONGEST = 4_000
"""Characters that are shown of what an error says."""
_QUOTE = re.compile("[\"'“]")
_PARAMETER = re.compile(r"<[^>]*>|\(\?P[^)]*\)")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# Texts of clients are among what these look through: none may begin anew at each character of a long run.
_DETAIL = re.compile(r"(?<!\s)\s*\b(?:DETAIL|CONTEXT|QUERY|LINE \d+): .*?(?=\n?HINT: |\Z)", re.DOTALL)
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]{0,30}://)(?:[^\s/@'\"]*@)?([^\s/?#'\"]*)[^\s'\"]*", re.IGNORECASE)
_URL_PATH = re.compile(r"(\burl: )\S+")
_IN_EMAIL = r"[^\s@<>\"'(),;:=\[\]{}]"
_EMAIL = re.compile(rf"(?<!{_IN_EMAIL}){_IN_EMAIL}+@{_IN_EMAIL}+")
# What PostgreSQL and Django put in quotes without it being a value: names of ours.
_QUOTED = re.compile(
    r"(?P<kept>\b(?:constraint|relation|column|table|index|function|type|schema|database|role|user|partition|lock"
    r"|module|attribute|object|argument|model|parameter|setting|codec|task) "
    r"(?:\"[\w.-]{1,80}\"|'[\w.-]{1,80}'))"
    r"|b?\"(?:[^\"\\]|\\.)*\"|\bb?'(?:[^'\\]|\\.)*'|(?<!\w)b?'(?:[^'\\]|\\.)*'|“[^”]*”",
    re.DOTALL,
)


class LineFormatter(logging.Formatter):
    """Writes a refused request on one line, whatever the client put into it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, and the traceback of a fault of ours."""
        return super().format(_redacted(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """Return the line; a path, say, may hold line breaks."""
        follows_from = request_id.get()
        mark = f"[{follows_from}] " if follows_from else ""
        record.message = mark + without_values(record.message)
        return super().formatMessage(record).translate(_LINE_BREAKS)

    def formatException(  # noqa: N802  # logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """Return the traceback, with what the errors say but for values."""
        if ei[1] is None:
            return ""
        formatted = traceback.TracebackException.from_exception(ei[1])
        _redact_traceback(formatted)
        return "".join(formatted.format()).rstrip("\n")


class JSONFormatter(LineFormatter):
    """Writes each record as an object on a line of its own."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        shown = _redacted(record)
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_values(shown.getMessage()),
            "program": PROGRAM,
            "pid": record.process,
            "thread": record.threadName,
        }
        if follows_from := request_id.get():
            fields["request_id"] = follows_from
        status = getattr(record, "status_code", None)
        if status is not None:
            fields["status"] = status
        fields |= getattr(record, "fields", {})
        if shown.exc_info:
            fields["exception"] = self.formatException(shown.exc_info)
        return orjson.dumps(fields, default=str).decode()


def without_values(text: str) -> str:
    """Return a text of the log without addresses of persons, secrets in addresses, and PostgreSQL's details."""
    text = _DETAIL.sub("", text)
    text = _ADDRESS.sub(_only_host, text)
    text = _URL_PATH.sub(rf"\1{_LEFT_OUT}", text)
    return _EMAIL.sub(f"{_LEFT_OUT}@{_LEFT_OUT}", text)


def redacted_message(error: BaseException | str) -> str:
    """Return what an error says, without the values that it quotes."""
    text = _DETAIL.sub("", str(error))
    if len(text) > _LONGEST:
        # What is cut may end within a quoted value.
        text = _QUOTED.sub(_LEFT_OUT, text[:_LONGEST].rpartition(" ")[0])
        text = _QUOTE.split(text, maxsplit=1)[0] + _LEFT_OUT
    return without_values(_QUOTED.sub(lambda found: found["kept"] or _LEFT_OUT, text))


def redacted_path(path: str) -> str:
    """Return a request's path with what is not of any route left out, but for numbers and UUIDs."""
    words = _words(get_resolver())
    return "/".join(one if one in words or _is_id(one) else _LEFT_OUT for one in path.split("/"))


@cache
def _words(resolver: URLResolver) -> frozenset[str]:
    """Return what stands between the slashes of routes and is no parameter."""
    found = {""}
    for one in resolver.url_patterns:
        found.update(_WORD.findall(_PARAMETER.sub("", str(one.pattern))))
        if isinstance(one, URLResolver):
            found |= _words(one)
    return frozenset(found)


class _RedactedError:
    """An error as an argument of a line."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        return redacted_message(self._error)

    def __repr__(self) -> str:
        return f"{type(self._error).__name__}({redacted_message(self._error)})"


def _redacted(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record as it is shown."""
    shown = copy.copy(record)
    shown.exc_text = None
    if isinstance(record.args, Mapping):
        # Celery's: what a task raised, as text.
        shown.args = {
            name: redacted_message(str(value)) if name == "exc" else value
            for name, value in record.args.items()
        }
    elif record.args:
        shown.args = tuple(
            _RedactedError(one) if isinstance(one, BaseException) else one for one in record.args
        )
    if record.name.startswith("django.security"):
        shown.msg, shown.args = redacted_message(record.getMessage()), ()
    request = getattr(record, "request", None)
    if isinstance(request, HttpRequest):
        path = redacted_path(request.path)
        if path != request.path:
            shown.msg, shown.args = shown.getMessage().replace(request.path, path), ()
    # Who is told to try again, under load say, is refused on purpose.
    error = record.exc_info[1] if record.exc_info is not None else None
    status = getattr(record, "status_code", _FAULT)
    if isinstance(error, DomainError) or status < _FAULT:
        _describe_rejection(shown, request)
    elif status == _UNAVAILABLE and error is not None:
        # Of a database that is away, say, it is of no use where that was noticed, and there may be thousands.
        _describe_rejection(shown, request)
        why = f"{type(error).__name__}: {' '.join(redacted_message(error).split())}"
        shown.msg, shown.args = "%s: %s", (shown.getMessage(), why)
    return shown


def _describe_rejection(record: logging.LogRecord, request: Any) -> None:
    """Add the request that was refused, and drop the place in Django that refused it."""
    record.exc_info = record.exc_text = record.stack_info = None
    if request is None:
        return
    path = redacted_path(request.path)
    message = record.getMessage()
    if path not in message:
        record.msg, record.args = "%s (%s %s)", (message, request.method, path)


def _redact_traceback(formatted: traceback.TracebackException) -> None:
    formatted._str = redacted_message(str(formatted))  # type: ignore[attr-defined]  # nothing public sets it
    formatted.__notes__ = None
    for other in (formatted.__cause__, formatted.__context__, *(formatted.exceptions or ())):
        if other is not None:
            _redact_traceback(other)


def _only_host(found: re.Match[str]) -> str:
    scheme, host = found.groups()
    return f"{scheme}{host}" if found.group() == f"{scheme}{host}" else f"{scheme}{host}/{_LEFT_OUT}"


def _is_id(text: str) -> bool:
    if text.isdecimal():
        return True
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
