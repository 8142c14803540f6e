"""The house as a Django app: for its commands, and for the Celery app, which tasks find once it is loaded."""

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
        """Teach the ORM to bind long lists, and register the checks of the installation."""
        lookups.register()
        checks.register_checks()
        telemetry.start()
