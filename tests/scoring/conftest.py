from datetime import UTC, datetime, timedelta

import pytest

from config import clock
from tests.workspaces.factories import WorkspaceFactory


class VirtualClock:
    """A clock that a test moves."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def __call__(self) -> datetime:
        return self.moment

    def pass_(self, **length: float) -> datetime:
        """Let time go by."""
        self.moment += timedelta(**length)
        return self.moment


@pytest.fixture
def time(monkeypatch):
    """Stand on Monday, 2 November 2026, noon."""
    virtual = VirtualClock(datetime(2026, 11, 2, 12, tzinfo=UTC))
    monkeypatch.setattr(clock, "now", virtual)
    return virtual


@pytest.fixture
def workspace(db):
    return WorkspaceFactory()
