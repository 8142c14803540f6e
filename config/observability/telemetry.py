"""Start Sentry and OpenTelemetry where they are configured; otherwise they are not loaded."""

from importlib import import_module
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from config.observability.metrics import PROGRAM

_SENTRY: Final = ("SENTRY_DSN", "config.observability.sentry", "sentry")
_OPENTELEMETRY: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "config.observability.tracing", "opentelemetry")


def start() -> None:
    """Start what is configured. Raises ImproperlyConfigured where its packages are missing."""
    for setting, module, extra in (_SENTRY, _OPENTELEMETRY):
        is_for_programs = module == "config.observability.tracing"
        if getattr(settings, setting) and not (is_for_programs and PROGRAM == "command"):
            _load(setting, module, extra)


def _load(setting: str, module: str, extra: str) -> None:
    try:
        loaded = import_module(module)
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(
            f"{setting} is set, but {error.name} is not installed: install what pyproject.toml lists as `{extra}`"
        ) from None
    loaded.start()
