"""The app of scores."""

from importlib import import_module

from django.apps import AppConfig


class ScoringConfig(AppConfig):
    """Floor 4: rules that award points, and the scores that follow."""

    name = "scoring"

    def ready(self) -> None:
        """Connect the receivers."""
        import_module("scoring.receivers")
