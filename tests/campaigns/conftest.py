from datetime import UTC, datetime

import pytest

from campaigns.messaging.channels import email
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


@pytest.fixture(autouse=True)
def _no_line_stands():
    """Hang up on the mail server of the test before: a thread keeps its connection for the next e-mail."""
    email._hang_up()
    yield
    email._hang_up()
