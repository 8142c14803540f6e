"""How the log looks: what is refused is a line, what we broke has its traceback."""

import copy
import logging

from config.errors import DomainError

_FAULT = 500
_LINE_BREAKS = {ord("\n"): "\\n", ord("\r"): "\\r"}


class LineFormatter(logging.Formatter):
    """Writes a refused request on one line, whatever the client put into it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's line, and the traceback of a fault of ours."""
        # Who is told to try again, under load say, is refused on purpose.
        is_on_purpose = record.exc_info is not None and isinstance(record.exc_info[1], DomainError)
        if is_on_purpose or getattr(record, "status_code", _FAULT) < _FAULT:
            record = _refusal(record)
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # logging's name
        """Return the line; a path, say, may hold line breaks."""
        return super().formatMessage(record).translate(_LINE_BREAKS)


def _refusal(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record with the request that was refused, and without the place in Django that refused it."""
    refusal = copy.copy(record)
    refusal.exc_info = refusal.exc_text = refusal.stack_info = None
    request = getattr(record, "request", None)
    if request is not None and request.path not in record.getMessage():
        refusal.msg, refusal.args = "%s (%s %s)", (record.getMessage(), request.method, request.path)
    return refusal
