"""Every write to the event stream, and the runner of what follows from it."""

from events.queries import list_events
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
    hold_lane,
    hold_rules,
    only_where,
    workspaces_with_due,
    workspaces_with_open_batches,
)
from events.services.isolation import for_each, isolate
from events.services.lag import Lag, lag_of
from events.services.measures import (
    build_measures,
    built_measures,
    contacts_of_lane,
    forget_measures,
    match_events,
    recount_aggregates,
    register_measures,
)
from events.services.outbox import LANES, enqueue_events, lane_of
from events.services.parking import park, parked_subjects, retry_parked
from events.services.recording import caused_by, record_contact_changes, record_events
from events.services.regrouping import hold_lanes_of, move_contacts
from events.services.stream import IncomingEvent, Outcome, RecordedEvent, SchemaPolicy
from events.services.timetable import forget_due, schedule

__all__ = [
    "LANES",
    "Consequence",
    "DueDecision",
    "EffectBatch",
    "EffectEvent",
    "IncomingEvent",
    "Lag",
    "Outcome",
    "PropertySpec",
    "RecordedEvent",
    "SchemaPolicy",
    "answer_wake_up",
    "apply_effects",
    "build_measures",
    "built_measures",
    "bump_rules_version",
    "caused_by",
    "contacts_of_lane",
    "create_definition",
    "delete_definition",
    "enqueue_events",
    "for_each",
    "forget_due",
    "forget_measures",
    "hold_lane",
    "hold_lanes_of",
    "hold_rules",
    "isolate",
    "lag_of",
    "lane_of",
    "list_events",
    "match_events",
    "move_contacts",
    "only_where",
    "park",
    "parked_subjects",
    "record_consequences",
    "record_contact_changes",
    "record_events",
    "recount_aggregates",
    "register_measures",
    "replace_definition",
    "retry_parked",
    "schedule",
    "workspaces_with_due",
    "workspaces_with_open_batches",
]
