"""The Django app of `config`: its commands, system checks and the Celery app."""

from django.apps import AppConfig

from config import checks
from config.celery import app as celery_app
from config.db import lookups
from config.observability import telemetry

__all__ = ["ConfigConfig", "celery_app"]


class ConfigConfig(AppConfig):
    name = "config"
    verbose_name = "Headrace"

    def ready(self) -> None:
        """Register look-ups and system checks, and start Sentry and OpenTelemetry."""
        lookups.register()
        checks.register_checks()
        telemetry.start()
