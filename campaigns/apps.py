"""The app of campaigns."""

from importlib import import_module

from django.apps import AppConfig


class CampaignsConfig(AppConfig):
    """Floor 6: who gets which message because of what, and why the others do not."""

    name = "campaigns"

    def ready(self) -> None:
        """Connect the receivers."""
        import_module("campaigns.receivers")
