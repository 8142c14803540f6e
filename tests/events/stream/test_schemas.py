"""An open format's names and types are listed as they come, within limits."""

import pytest

from events.models import EventProperty
from events.stream import schemas
from events.stream.recording import record_events
from events.stream.schemas import MAX_OBSERVED_PROPERTIES
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.stream import record_event
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workspace():
    return WorkspaceFactory()


def event(first, last, name="x"):
    return IncomingEvent(name, properties={f"p{number}": number for number in range(first, last)})


def listed(workspace):
    return EventProperty.objects.filter(workspace=workspace).count()


def test_one_event_lists_no_more_properties_than_are_listed(workspace):
    outcome = record_event(workspace, event(0, 3 * MAX_OBSERVED_PROPERTIES), schema_policy=SchemaPolicy.OPEN)
    assert listed(workspace) == MAX_OBSERVED_PROPERTIES
    assert outcome.event is not None
    assert len(outcome.event.properties) == 3 * MAX_OBSERVED_PROPERTIES


def test_the_events_of_a_batch_share_what_room_there_is(workspace):
    half = MAX_OBSERVED_PROPERTIES // 2
    record_event(workspace, event(0, half), schema_policy=SchemaPolicy.OPEN)
    more = [event(start, start + half) for start in (half, 2 * half, 3 * half)]
    record_events(workspace.id, [*more, event(0, half, "y")], schema_policy=SchemaPolicy.OPEN)
    assert listed(workspace) == MAX_OBSERVED_PROPERTIES + half


def test_what_is_remembered_of_an_event_does_not_grow_with_it(workspace):
    record_event(workspace, event(0, 10_000), schema_policy=SchemaPolicy.OPEN)
    (shape,) = schemas._observed
    assert all(len(str(part)) <= 300 for part in shape)
