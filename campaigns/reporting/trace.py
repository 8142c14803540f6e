"""Trace an event: its schema, contact, processing state, scores, derived events, enrollments and messages."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from django.db.models import Q

from campaigns.journeys.decisions import campaign_names
from campaigns.models import Decision, Enrollment, Message
from contacts.models import Contact
from events.id_bounds import end_id_of_events, first_id_of_events
from events.models import Event, EventBatch, EventDefinition, EventProperty, ParkedEffect
from events.names import CONTACT_CREATED, SEGMENT_EVENTS
from events.stream.coercion import accepts
from events.stream.outbox import lane_of
from scoring.models import ScoreEntry, ScoringRule

MAX_ROWS = 1_000
"""Most rows of each kind in a trace."""


class ContactResolution(StrEnum):
    """How an event's contact was found."""

    NOBODY = "nobody"
    KNOWN = "known"
    CREATED = "created"
    """The event created the contact."""
    MERGED = "merged"
    """The event's contact was merged into another since."""


class ProcessingState(StrEnum):
    """Whether an event's effects have run."""

    APPLIED = "applied"
    WAITING = "waiting"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class SchemaResult:
    """An event compared with the current definition of its name; `problems` are by property."""

    definition_id: UUID | None
    is_declared: bool
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that an event caused; each list is in order of time, with at most MAX_ROWS rows.

    `derived_events`: events that it caused, directly or through each other. Enrollments, decisions and messages are
    those of any of these events.
    """

    event: Event
    schema: SchemaResult
    resolved: ContactResolution
    contact_id: UUID | None
    state: ProcessingState
    parked: list[ParkedEffect]
    scores: list[tuple[ScoreEntry, str]]
    derived_events: list[Event]
    enrollments: list[Enrollment]
    decisions: list[Decision]
    messages: list[Message]
    campaigns: dict[UUID, str]

    @property
    def segment_moves(self) -> list[Event]:
        """Return the derived events that say which segments the contact entered or left."""
        return [event for event in self.derived_events if event.name in SEGMENT_EVENTS]


def trace_event(event: Event) -> Trace:
    """Trace an event. One statement for each level of derived events, and a fixed number of others."""
    workspace_id = event.workspace_id
    derived_events = _derived_events(event)
    ids = [event.id, *(event.id for event in derived_events)]
    started = Enrollment.objects.in_workspace(workspace_id).filter(event_id__in=ids).select_related("version")
    enrollments = list(started.order_by("id")[:MAX_ROWS])
    of_enrollments = Q(event_id__in=ids) | Q(enrollment_id__in=[enrollment.id for enrollment in enrollments])
    decided = (
        Decision.objects.in_workspace(workspace_id).filter(of_enrollments).select_related("campaign_set")
    )
    decisions = list(decided.order_by("id")[:MAX_ROWS])
    messages = list(
        Message.objects.in_workspace(workspace_id).filter(of_enrollments).order_by("id")[:MAX_ROWS]
    )
    parked = list(
        ParkedEffect.objects.in_workspace(workspace_id).filter(event_ids__contains=[event.id])[:MAX_ROWS]
    )
    resolved, contact_id = _resolved(event)
    return Trace(
        event=event,
        schema=_schema(event),
        resolved=resolved,
        contact_id=contact_id,
        state=_state(event, contact_id, parked),
        parked=parked,
        scores=_scores(event),
        derived_events=derived_events,
        enrollments=enrollments,
        decisions=decisions,
        messages=messages,
        campaigns=campaign_names(workspace_id, _campaigns_of([*enrollments, *messages], decisions)),
    )


def _derived_events(event: Event) -> list[Event]:
    """Return events that an event caused, directly or through each other."""
    found: list[Event] = []
    causes: Collection[UUID] = [event.id]
    seen = {event.id}
    while causes and len(found) < MAX_ROWS:
        caused = Event.objects.in_workspace(event.workspace_id).filter(cause_id__in=causes).order_by("id")
        fresh = [event for event in caused[: MAX_ROWS - len(found)] if event.id not in seen]
        found += fresh
        causes = [event.id for event in fresh]
        seen.update(causes)
    return sorted(found, key=lambda event: (event.received_at, event.depth, event.id))


def _schema(event: Event) -> SchemaResult:
    definition = (
        EventDefinition.objects.in_workspace(event.workspace_id).active().filter(name=event.name).first()
    )
    if definition is None:
        return SchemaResult(None, is_declared=False)
    known = EventProperty.objects.in_workspace(event.workspace_id).filter(definition=definition)
    types = dict(known.values_list("name", "type"))
    return SchemaResult(definition.id, definition.is_declared, _problems(event, types))


def _problems(event: Event, types: dict[str, str]) -> dict[str, str]:
    problems = {}
    for name, value in event.properties.items():
        if name not in types:
            problems[name] = "not defined"
        elif value is not None and not accepts(value, types[name]):
            problems[name] = f"not of the type {types[name]}"
    return problems


def _resolved(event: Event) -> tuple[ContactResolution, UUID | None]:
    """Return how the contact was found and its canonical id; None if it was deleted."""
    if event.contact_id is None:
        return ContactResolution.NOBODY, None
    contacts = Contact.objects.in_workspace(event.workspace_id).filter(id=event.contact_id)
    row = contacts.values_list("id", "merged_into_id").first()
    if row is None:
        return ContactResolution.KNOWN, None
    own, survivor = row
    if _was_created_with(event, own):
        return ContactResolution.CREATED, survivor or own
    return (ContactResolution.KNOWN if survivor is None else ContactResolution.MERGED), survivor or own


def _was_created_with(event: Event, contact_id: UUID) -> bool:
    """Return whether the call that recorded the event created the contact: both have the same time."""
    at = event.received_at
    same_moment = Event.objects.in_workspace(event.workspace_id).filter(
        contact_id=contact_id, id__gte=first_id_of_events(at), id__lt=end_id_of_events(at)
    )
    return same_moment.filter(name=CONTACT_CREATED, source=Event.Source.SYSTEM, received_at=at).exists()


def _state(event: Event, contact_id: UUID | None, parked: list[ParkedEffect]) -> ProcessingState:
    batches = EventBatch.objects.in_workspace(event.workspace_id).filter(event_ids__contains=[event.id])
    if event.contact_id is not None:
        # After a merge, it waits in the old lane or in the survivor's.
        batches = batches.filter(lane__in={lane_of(id_) for id_ in (event.contact_id, contact_id) if id_})
    if batches.exists():
        return ProcessingState.WAITING
    return ProcessingState.PARKED if parked else ProcessingState.APPLIED


def _scores(event: Event) -> list[tuple[ScoreEntry, str]]:
    """Return the event's score entries, each with its rule's name."""
    entries = list(
        ScoreEntry.objects.in_workspace(event.workspace_id)
        .filter(event_id=event.id)
        .order_by("id")[:MAX_ROWS]
    )
    rules = ScoringRule.with_deleted.in_workspace(event.workspace_id)
    names = dict(rules.filter(id__in=[entry.rule_id for entry in entries]).values_list("id", "name"))
    return [(entry, names.get(entry.rule_id, "")) for entry in entries]


def _campaigns_of(rows: Iterable[Enrollment | Message], decisions: Iterable[Decision]) -> Iterator[UUID]:
    yield from (row.campaign_id for row in rows if row.campaign_id)
    for decision in decisions:
        yield from decision.campaign_ids
