"""Report errors to Sentry without personal data. Loaded where SENTRY_DSN is set.

Whatever is logged as an error is reported. The library's integrations with Django and Celery are not used:
they collect data that must not be sent, and cost each request time.
"""

import logging
from typing import Any, cast

import sentry_sdk
from django.conf import settings
from sentry_sdk.integrations import Integration
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.excepthook import ExcepthookIntegration
from sentry_sdk.integrations.logging import LoggingIntegration
from sentry_sdk.integrations.threading import ThreadingIntegration

from config.observability.logs import redacted_message, redacted_path
from config.observability.metrics import PROGRAM
from config.observability.request_ids import request_id

_DROPPED = ("user", "extra", "breadcrumbs", "modules", "request")


def start() -> None:
    """Begin to report errors."""
    integrations: list[Integration] = [
        AtexitIntegration(),
        DedupeIntegration(),
        ExcepthookIntegration(),
        LoggingIntegration(level=None, event_level=logging.ERROR),
        ThreadingIntegration(),
    ]
    sentry_sdk.init(
        dsn=settings.SENTRY_DSN,
        environment="production" if settings.PRODUCTION else "development",
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=integrations,
        send_default_pii=False,
        include_local_variables=False,
        max_breadcrumbs=0,
        shutdown_timeout=1,
        auto_session_tracking=False,
        before_send=cast(Any, without_data),
    )
    sentry_sdk.set_tag("program", PROGRAM)


def without_data(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    """Return the event with everything removed that may be personal data."""
    for name in _DROPPED:
        event.pop(name, None)
    if follows_from := request_id.get():
        event["tags"] = {**(event.get("tags") or {}), "request_id": follows_from}
    request = getattr(hint.get("log_record"), "request", None)
    if request is not None:
        event["request"] = {"method": request.method, "url": redacted_path(request.path)}
    for error in (event.get("exception") or {}).get("values", ()):
        error["value"] = redacted_message(error.get("value") or "")
        for frame in (error.get("stacktrace") or {}).get("frames", ()):
            frame.pop("vars", None)
    if entry := event.pop("logentry", None):
        # The message without its arguments: they may be personal data.
        event["logentry"] = {"message": redacted_message(entry.get("message") or "")}
    contexts = event.get("contexts") or {}
    event["contexts"] = {name: contexts[name] for name in ("trace", "runtime") if name in contexts}
    return event
