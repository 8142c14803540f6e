"""Report settings that are missing or invalid as one line instead of a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from config.environment import InvalidVariable


@contextmanager
def report_on_one_line() -> Iterator[None]:
    """End the program with one line that says which setting is wrong, and why."""
    try:
        yield
    except (ImproperlyConfigured, InvalidVariable) as error:
        sys.exit(f"Improperly configured: {error}")


def require_settings() -> None:
    """Load the settings, or end with what is wrong with them."""
    with report_on_one_line():
        settings.SECRET_KEY  # noqa: B018  # loads them
