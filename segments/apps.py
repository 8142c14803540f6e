"""The app of segments."""

from importlib import import_module

from django.apps import AppConfig


class SegmentsConfig(AppConfig):
    """Floor 5: rules over contacts, and who is in them."""

    name = "segments"

    def ready(self) -> None:
        """Connect the receivers."""
        import_module("segments.receivers")
