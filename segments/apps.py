"""The app of segments."""

from django.apps import AppConfig


class SegmentsConfig(AppConfig):
    """Floor 5: rules over contacts, and who is in them."""

    name = "segments"
