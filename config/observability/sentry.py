"""Faults go to Sentry, without anybody's data. Loaded where SENTRY_DSN is set.

What is logged as an error is what is told: of requests by Django, of tasks by Celery, of threads by themselves. The
library's own ways into Django and Celery would add what it then has to be kept from sending, and cost each request.
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
    """Have faults sent."""
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
    """Return what is sent of a fault."""
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
        # With its arguments it would tell what was given; the message alone tells where it is from.
        event["logentry"] = {"message": redacted_message(entry.get("message") or "")}
    contexts = event.get("contexts") or {}
    event["contexts"] = {name: contexts[name] for name in ("trace", "runtime") if name in contexts}
    return event
