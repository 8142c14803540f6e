"""Connect what happens when events and what they are about are saved."""

from importlib import import_module

from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "events"

    def ready(self) -> None:
        """Connect the receivers."""
        import_module("events.receivers")
