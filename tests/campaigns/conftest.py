from datetime import UTC, datetime

import pytest

from config import clock
from tests.contacts.factories import a_contact
from tests.segments.factories import VirtualClock
from tests.workspaces.factories import WorkspaceFactory


@pytest.fixture
def workspace(db):
    return WorkspaceFactory()


@pytest.fixture
def jane(workspace):
    return a_contact(workspace, "jane@example.test")


@pytest.fixture
def time(monkeypatch):
    """Replace the clock."""
    virtual = VirtualClock(datetime(2026, 5, 1, 12, tzinfo=UTC))
    monkeypatch.setattr(clock, "now", virtual.now)
    return virtual
