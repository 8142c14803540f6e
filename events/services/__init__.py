"""Every write to the event stream, and the runner of what follows from it."""

from events.queries import count_events, list_events
from events.services.consequences import Consequence, record_consequences
from events.services.definitions import (
    PropertySpec,
    create_definition,
    delete_definition,
    replace_definition,
)
from events.services.effects import (
    DueDecision,
    EffectBatch,
    EffectEvent,
    answer_wake_up,
    apply_effects,
    bump_rules_version,
    workspaces_with_due,
    workspaces_with_open_batches,
)
from events.services.isolation import isolate
from events.services.outbox import enqueue_events
from events.services.parking import park, parked_subjects, retry_parked
from events.services.recording import record_contact_changes, record_event, record_events
from events.services.stream import IncomingEvent, Outcome, RecordedEvent, SchemaPolicy
from events.services.timetable import forget_due, schedule

__all__ = [
    "Consequence",
    "DueDecision",
    "EffectBatch",
    "EffectEvent",
    "IncomingEvent",
    "Outcome",
    "PropertySpec",
    "RecordedEvent",
    "SchemaPolicy",
    "answer_wake_up",
    "apply_effects",
    "bump_rules_version",
    "count_events",
    "create_definition",
    "delete_definition",
    "enqueue_events",
    "forget_due",
    "isolate",
    "list_events",
    "park",
    "parked_subjects",
    "record_consequences",
    "record_contact_changes",
    "record_event",
    "record_events",
    "replace_definition",
    "retry_parked",
    "schedule",
    "workspaces_with_due",
    "workspaces_with_open_batches",
]
