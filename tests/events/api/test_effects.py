from datetime import UTC, datetime, timedelta

import pytest

from config import clock, ids
from events.processing.passes import apply_effects
from events.processing.timers import schedule_timers
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.segments.factories import VirtualClock, tell
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_lag_is_for_how_long_the_oldest_event_or_moment_has_waited(monkeypatch):
    time = VirtualClock(datetime(2026, 5, 1, 12, tzinfo=UTC))
    monkeypatch.setattr(clock, "now", time.now)
    workspace, other = WorkspaceFactory(), WorkspaceFactory()
    api = NativeClient(workspace)
    jane, john = a_contact(workspace, "jane@example.test"), a_contact(other, "john@example.test")
    for space in (workspace, other):
        apply_effects(space.id)
    nothing = {
        "lagSeconds": 0.0,
        "waitingBatches": 0,
        "waitingSince": None,
        "overdue": 0,
        "overdueSince": None,
        "parked": 0,
    }
    assert api.get("effects").json() == nothing

    tell(other, john, "buy")
    due = time.now() + timedelta(seconds=5)
    schedule_timers(
        workspace.id, [(ids.uuid7(), jane.id, due), (ids.uuid7(), jane.id, due + timedelta(days=1))]
    )
    assert api.get("effects").json() == nothing
    time.go(seconds=15)
    tell(workspace, jane, "buy")
    time.go(seconds=20)
    assert api.get("effects").json() == {
        "lagSeconds": 30.0,
        "waitingBatches": 1,
        "waitingSince": "2026-05-01T12:00:15.000Z",
        "overdue": 1,
        "overdueSince": "2026-05-01T12:00:05.000Z",
        "parked": 0,
    }
    apply_effects(workspace.id)
    assert api.get("effects").json() == nothing
