"""Record a single event in tests."""

from typing import Any

from events.stream.recording import record_events
from events.stream.types import IncomingEvent, Outcome, SchemaPolicy
from workspaces.models import Workspace


def record_event(
    workspace: Workspace, incoming: IncomingEvent, *, schema_policy: SchemaPolicy, **terms: Any
) -> Outcome:
    """Record one event. Raises its DomainError."""
    (outcome,) = record_events(workspace.id, [incoming], schema_policy=schema_policy, **terms)
    outcome.recorded()
    return outcome
