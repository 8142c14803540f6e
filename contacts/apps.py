"""The app of contacts; connects its signal receivers."""

from django.apps import AppConfig


class ContactsConfig(AppConfig):
    name = "contacts"

    def ready(self) -> None:
        """Connect the receivers."""
        from contacts import receivers  # noqa: F401, PLC0415  # models are not there before
