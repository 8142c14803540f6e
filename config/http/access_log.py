"""The access log: a line for each request, where ACCESS_LOG is on."""

import logging
from typing import Any

from config.observability.logs import redacted_path

access = logging.getLogger("headrace.access")


def log_access(environ: dict[str, Any], response: Any, seconds: float) -> None:
    """Log method, redacted path, status, dialect and duration of a request."""
    method, path = environ["REQUEST_METHOD"], redacted_path(environ.get("PATH_INFO", ""))
    milliseconds = seconds * 1000
    fields = {
        "method": method,
        "path": path,
        "status": response.status_code,
        "dialect": getattr(response, "dialect", "page"),
        "milliseconds": round(milliseconds, 1),
    }
    access.info(
        "%s %s %s in %.1f ms", method, path, response.status_code, milliseconds, extra={"fields": fields}
    )
