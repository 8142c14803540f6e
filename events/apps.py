"""The app of events; connects its signal receivers."""

from importlib import import_module

from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "events"

    def ready(self) -> None:
        """Connect the receivers."""
        import_module("events.receivers")
