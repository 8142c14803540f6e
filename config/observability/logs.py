"""Log formatters that redact personal data; refused requests take one line, unexpected errors a traceback.

Messages of libraries quote what they were given. So quoted values, e-mail addresses, PostgreSQL's error
details, and all of a URL but its host are left out. Tracebacks show no values, request paths only the words
of routes.
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
"""Longest error message that is shown, in characters."""
_QUOTE = re.compile("[\"'“]")
_PARAMETER = re.compile(r"<[^>]*>|\(\?P[^)]*\)")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")

# Clients' texts are searched, too: no pattern may backtrack over a long run.
_DETAIL = re.compile(r"(?<!\s)\s*\b(?:DETAIL|CONTEXT|QUERY|LINE \d+): .*?(?=\n?HINT: |\Z)", re.DOTALL)
_ADDRESS = re.compile(r"\b([a-z][a-z0-9+.-]{0,30}://)(?:[^\s/@'\"]*@)?([^\s/?#'\"]*)[^\s'\"]*", re.IGNORECASE)
_URL_PATH = re.compile(r"(\burl: )\S+")
_IN_EMAIL = r"[^\s@<>\"'(),;:=\[\]{}]"
_EMAIL = re.compile(rf"(?<!{_IN_EMAIL}){_IN_EMAIL}+@{_IN_EMAIL}+")
# Quoted names of tables, settings and the like are no data, and stay.
_QUOTED = re.compile(
    r"(?P<kept>\b(?:constraint|relation|column|table|index|function|type|schema|database|role|user|partition|lock"
    r"|module|attribute|object|argument|model|parameter|setting|codec|task) "
    r"(?:\"[\w.-]{1,80}\"|'[\w.-]{1,80}'))"
    r"|b?\"(?:[^\"\\]|\\.)*\"|\bb?'(?:[^'\\]|\\.)*'|(?<!\w)b?'(?:[^'\\]|\\.)*'|“[^”]*”",
    re.DOTALL,
)


class LineFormatter(logging.Formatter):
    """Format a record as one line; unexpected errors add their traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the redacted line, and the traceback of an unexpected error."""
        return super().format(_redacted(record))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """Return the line with the request id, and with line breaks escaped."""
        follows_from = request_id.get()
        mark = f"[{follows_from}] " if follows_from else ""
        record.message = mark + without_values(record.message)
        return super().formatMessage(record).translate(_LINE_BREAKS)

    def formatException(  # noqa: N802  # logging's name
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """Return the traceback with redacted messages."""
        if ei[1] is None:
            return ""
        formatted = traceback.TracebackException.from_exception(ei[1])
        _redact_traceback(formatted)
        return "".join(formatted.format()).rstrip("\n")


class JSONFormatter(LineFormatter):
    """Format a record as one JSON object per line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the JSON line."""
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
    """Return text without e-mail addresses, credentials in URLs, and PostgreSQL's details."""
    text = _DETAIL.sub("", text)
    text = _ADDRESS.sub(_only_host, text)
    text = _URL_PATH.sub(rf"\1{_LEFT_OUT}", text)
    return _EMAIL.sub(f"{_LEFT_OUT}@{_LEFT_OUT}", text)


def redacted_message(error: BaseException | str) -> str:
    """Return an error's message without the values that it quotes."""
    text = _DETAIL.sub("", str(error))
    if len(text) > _LONGEST:
        # The cut may be within a quoted value.
        text = _QUOTED.sub(_LEFT_OUT, text[:_LONGEST].rpartition(" ")[0])
        text = _QUOTE.split(text, maxsplit=1)[0] + _LEFT_OUT
    return without_values(_QUOTED.sub(lambda found: found["kept"] or _LEFT_OUT, text))


def redacted_path(path: str) -> str:
    """Return a request path with only words of routes, numbers and UUIDs."""
    words = _words(get_resolver())
    return "/".join(part if part in words or _is_id(part) else _LEFT_OUT for part in path.split("/"))


@cache
def _words(resolver: URLResolver) -> frozenset[str]:
    """Return the words of all routes, without their parameters."""
    found = {""}
    for pattern in resolver.url_patterns:
        found.update(_WORD.findall(_PARAMETER.sub("", str(pattern.pattern))))
        if isinstance(pattern, URLResolver):
            found |= _words(pattern)
    return frozenset(found)


class _RedactedError:
    """An error as an argument of a log message, redacted when formatted."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        return redacted_message(self._error)

    def __repr__(self) -> str:
        return f"{type(self._error).__name__}({redacted_message(self._error)})"


def _redacted(record: logging.LogRecord) -> logging.LogRecord:
    """Return a copy of the record, redacted."""
    shown = copy.copy(record)
    shown.exc_text = None
    if isinstance(record.args, Mapping):
        # Celery passes a task's error as text.
        shown.args = {
            name: redacted_message(str(value)) if name == "exc" else value
            for name, value in record.args.items()
        }
    elif record.args:
        shown.args = tuple(
            _RedactedError(value) if isinstance(value, BaseException) else value for value in record.args
        )
    if record.name.startswith("django.security"):
        shown.msg, shown.args = redacted_message(record.getMessage()), ()
    request = getattr(record, "request", None)
    if isinstance(request, HttpRequest):
        path = redacted_path(request.path)
        if path != request.path:
            shown.msg, shown.args = shown.getMessage().replace(request.path, path), ()
    # A 503 under load is deliberate: no error.
    error = record.exc_info[1] if record.exc_info is not None else None
    status = getattr(record, "status_code", _FAULT)
    if isinstance(error, DomainError) or status < _FAULT:
        _describe_rejection(shown, request)
    elif status == _UNAVAILABLE and error is not None:
        # A traceback for an unavailable database tells nothing, and there may be thousands.
        _describe_rejection(shown, request)
        why = f"{type(error).__name__}: {' '.join(redacted_message(error).split())}"
        shown.msg, shown.args = "%s: %s", (shown.getMessage(), why)
    return shown


def _describe_rejection(record: logging.LogRecord, request: Any) -> None:
    """Add the refused request to the record, and drop the traceback."""
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
