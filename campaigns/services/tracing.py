"""What one event caused: how it was read, whom it was about, what it earned, and what campaigns made of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID

from django.db.models import Q

from campaigns.models import Decision, Message, Run
from campaigns.services.decisions import names_of_campaigns
from contacts.models import Contact
from events.bounds import end_id_of_events, first_id_of_events
from events.models import Event, EventBatch, EventDefinition, EventProperty, ParkedEffect
from events.services import lane_of
from events.services.coercion import accepts
from scoring.models import ScoreEntry, ScoringRule

MOST = 1_000
"""Rows of each kind that a trace shows."""


class Resolved(StrEnum):
    """How an event's contact was found."""

    NOBODY = "nobody"
    KNOWN = "known"
    CREATED = "created"
    """It was made with the event."""
    MERGED = "merged"
    """The contact that the event came with reads as another now."""


class State(StrEnum):
    """How far an event's effects are."""

    APPLIED = "applied"
    WAITING = "waiting"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class SchemaResult:
    """An event held against the definition of its name as it is now; `problems` are by property."""

    definition_id: UUID | None
    is_declared: bool
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """All that one event caused, each list in the order of time and `MOST` rows long at most.

    `consequences` are the system's events that followed from it, also from one another; runs, decisions and
    messages are those of any of them.
    """

    event: Event
    schema: SchemaResult
    resolved: Resolved
    contact_id: UUID | None
    state: State
    parked: list[ParkedEffect]
    scores: list[tuple[ScoreEntry, str]]
    consequences: list[Event]
    runs: list[Run]
    decisions: list[Decision]
    messages: list[Message]
    campaigns: dict[UUID, str]


def trace_event(event: Event) -> Trace:
    """Follow an event through all that it turned; one statement per depth, and a fixed number of others."""
    workspace_id = event.workspace_id
    consequences = _consequences(event)
    ids = [event.id, *(one.id for one in consequences)]
    started = Run.objects.in_workspace(workspace_id).filter(event_id__in=ids).select_related("version")
    runs = list(started.order_by("id")[:MOST])
    of_runs = Q(event_id__in=ids) | Q(run_id__in=[run.id for run in runs])
    decided = Decision.objects.in_workspace(workspace_id).filter(of_runs).select_related("campaign_set")
    decisions = list(decided.order_by("id")[:MOST])
    messages = list(Message.objects.in_workspace(workspace_id).filter(of_runs).order_by("id")[:MOST])
    parked = list(
        ParkedEffect.objects.filter(workspace_id=workspace_id, event_ids__contains=[event.id])[:MOST]
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
        consequences=consequences,
        runs=runs,
        decisions=decisions,
        messages=messages,
        campaigns=names_of_campaigns(workspace_id, _campaigns_of([*runs, *messages], decisions)),
    )


def _consequences(event: Event) -> list[Event]:
    """Return what followed from an event, and from what followed."""
    found: list[Event] = []
    causes: Collection[UUID] = [event.id]
    seen = {event.id}
    while causes and len(found) < MOST:
        caused = Event.objects.filter(workspace_id=event.workspace_id, cause_id__in=causes).order_by("id")
        fresh = [one for one in caused[: MOST - len(found)] if one.id not in seen]
        found += fresh
        causes = [one.id for one in fresh]
        seen.update(causes)
    return sorted(found, key=lambda one: (one.received_at, one.depth, one.id))


def _schema(event: Event) -> SchemaResult:
    definition = (
        EventDefinition.objects.in_workspace(event.workspace_id).active().filter(name=event.name).first()
    )
    if definition is None:
        return SchemaResult(None, is_declared=False)
    known = EventProperty.objects.filter(workspace_id=event.workspace_id, definition=definition)
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


def _resolved(event: Event) -> tuple[Resolved, UUID | None]:
    """Return how the contact was found and who it is now; None also where it was deleted."""
    if event.contact_id is None:
        return Resolved.NOBODY, None
    contacts = Contact.objects.in_workspace(event.workspace_id).filter(id=event.contact_id)
    row = contacts.values_list("id", "merged_into_id").first()
    if row is None:
        return Resolved.KNOWN, None
    own, survivor = row
    if _was_created_with(event, own):
        return Resolved.CREATED, survivor or own
    return (Resolved.KNOWN if survivor is None else Resolved.MERGED), survivor or own


def _was_created_with(event: Event, contact_id: UUID) -> bool:
    """Tell whether the contact came to be in the very call that recorded the event: both have its moment."""
    at = event.received_at
    same_moment = Event.objects.filter(
        workspace_id=event.workspace_id,
        contact_id=contact_id,
        id__gte=first_id_of_events(at),
        id__lt=end_id_of_events(at),
    )
    return same_moment.filter(name="contact.created", source=Event.Source.SYSTEM, received_at=at).exists()


def _state(event: Event, contact_id: UUID | None, parked: list[ParkedEffect]) -> State:
    batches = EventBatch.objects.filter(workspace_id=event.workspace_id, event_ids__contains=[event.id])
    if event.contact_id is not None:
        # Handed over on a merge: it waits in the lane of before, or in the survivor's.
        batches = batches.filter(lane__in={lane_of(one) for one in (event.contact_id, contact_id) if one})
    if batches.exists():
        return State.WAITING
    return State.PARKED if parked else State.APPLIED


def _scores(event: Event) -> list[tuple[ScoreEntry, str]]:
    """Return what the event earned, each with its rule's name."""
    entries = list(
        ScoreEntry.objects.filter(workspace_id=event.workspace_id, event_id=event.id).order_by("id")[:MOST]
    )
    rules = ScoringRule.with_deleted.in_workspace(event.workspace_id)
    names = dict(rules.filter(id__in=[entry.rule_id for entry in entries]).values_list("id", "name"))
    return [(entry, names.get(entry.rule_id, "")) for entry in entries]


def _campaigns_of(rows: Iterable[Run | Message], decisions: Iterable[Decision]) -> Iterator[UUID]:
    yield from (row.campaign_id for row in rows if row.campaign_id)
    for decision in decisions:
        yield from decision.campaign_ids
