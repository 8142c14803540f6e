"""The app of scores."""

from django.apps import AppConfig


class ScoringConfig(AppConfig):
    """Floor 4: rules that award points, and the scores that follow."""

    name = "scoring"
