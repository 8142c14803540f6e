"""End a program that cannot start, for want of a secret say, with one line instead of a traceback."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


@contextmanager
def report_on_one_line() -> Iterator[None]:
    """End with which setting is wrong, and what is wrong with it: where the code read it tells nobody anything."""
    try:
        yield
    except ImproperlyConfigured as error:
        sys.exit(f"Improperly configured: {error}")


def require_settings() -> None:
    """Read the settings, or end with what is wrong with them."""
    with report_on_one_line():
        settings.SECRET_KEY  # noqa: B018  # the first question reads them
