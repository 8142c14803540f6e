"""What every test stands on: no wake-up leaves the process unless a test asks for it."""

import pytest

from events import receivers
from events.services import schemas


@pytest.fixture(autouse=True)
def wake_ups(monkeypatch):
    """Gather the wake-ups that would be published, in place of the broker."""
    published = []
    monkeypatch.setattr(receivers, "publish", published.append)
    return published


@pytest.fixture(autouse=True)
def _nothing_observed():
    """Forget what this process has listed: a test's rows are gone with it."""
    schemas._observed.clear()
