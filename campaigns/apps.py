"""The app of campaigns."""

from importlib import import_module

from django.apps import AppConfig
from django.core.checks import Tags, register

from campaigns import checks


class CampaignsConfig(AppConfig):
    """Floor 6: who gets which message because of what, and why the others do not."""

    name = "campaigns"

    def ready(self) -> None:
        """Connect the receivers, and register the checks of this app."""
        import_module("campaigns.receivers")
        register(checks.check_email_backend)
        register(checks.check_deliveries, Tags.security, deploy=True)
