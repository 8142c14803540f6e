"""Segments, people and what they do, with the least data."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import F

from config import clock
from contacts.models import Contact
from contacts.references import ContactReference
from events.models import Aggregate, Event
from events.processing.lane_backfills import LaneBackfill, unfinished_lanes
from events.processing.passes import apply_effects
from events.rules import aggregates_of_rule, parse_rule
from events.stream.outbox import LANE_COUNT, lane_of
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from segments.build import BUILDS, PUBLICATIONS
from segments.definitions import create_segment
from segments.models import Membership, MembershipPeriod, Segment
from workspaces.models import BackfillJob, Workspace


def did(name: str, **more: Any) -> dict[str, Any]:
    """Return the condition that a contact did something, at least once unless it says otherwise."""
    return {"type": "event", "eventType": name, **more}


def attribute(field: str, operator: str, value: Any = None, **more: Any) -> dict[str, Any]:
    """Return a condition on a contact's field."""
    more = more if value is None else {"value": value, **more}
    return {"type": "attribute", "field": field, "operator": operator, **more}


def in_segment(segment: Segment, operator: str = "in") -> dict[str, Any]:
    """Return the condition of being in another segment."""
    return {"type": "segment", "segmentId": str(segment.id), "operator": operator}


def every(*conditions: Any) -> dict[str, Any]:
    """Return the rule that holds where all do."""
    return {"operator": "AND", "conditions": list(conditions)}


def none_of(*conditions: Any) -> dict[str, Any]:
    """Return the rule that holds where none does."""
    return {"operator": "NOT", "conditions": list(conditions)}


def a_segment(workspace: Workspace, raw: Any, name: str = "", **options: Any) -> Segment:
    """Return a segment that is built and published."""
    number = Segment.objects.count()
    segment = create_segment(workspace.id, name=name or f"Segment {number}", raw=raw, **options)
    build_occupied_lanes(segment)
    segment.refresh_from_db()
    return segment


def build_occupied_lanes(segment: Segment) -> None:
    """Build and publish as `run_build` does, with lanes that have nobody marked as done: a build of all takes 0.4 s.

    One of them is worked on even so where there is nobody at all, for the last lane ends the build.
    """
    contacts = Contact.objects.in_workspace(segment.workspace_id).values_list("id", flat=True)
    occupied = {lane_of(contact_id) for contact_id in contacts} or {0}
    segment.refresh_from_db()
    empty = sum(1 << lane for lane in range(LANE_COUNT) if lane not in occupied)
    row = Segment.objects.in_workspace(segment.workspace_id).filter(id=segment.id)
    if row.filter(build=Segment.Build.RUNNING).update(build_lanes_done=F("build_lanes_done").bitor(empty)):
        keys = [spec.key for spec in aggregates_of_rule(parse_rule(segment.draft_rule))]
        aggregates = Aggregate.objects.in_workspace(segment.workspace_id).filter(key__in=keys)
        aggregates.update(lanes_built=F("lanes_built").bitor(empty))
    _work_on_lanes(BUILDS, segment, occupied)
    row.filter(publishing_since__isnull=False).update(published_lanes=F("published_lanes").bitor(empty))
    _work_on_lanes(PUBLICATIONS, segment, occupied)


def _work_on_lanes(backfill: LaneBackfill, segment: Segment, lanes: Collection[int]) -> None:
    jobs = BackfillJob.objects.in_workspace(segment.workspace_id)
    unfinished = jobs.filter(kind=backfill.path, subject=str(segment.id), finished_at=None)
    now = clock.now()
    unfinished.exclude(part__in=lanes).update(cursor=None, progressed_at=now, finished_at=now)
    for lane in unfinished_lanes(backfill.path, segment.workspace_id, segment.id):
        backfill.run_lane(segment.workspace_id, segment.id, lane)


def send(
    workspace: Workspace, contact: Contact, *names: str, at: datetime | None = None, **properties: Any
) -> None:
    """Record events of a contact and apply what follows from them."""
    tell(workspace, contact, *names, at=at, **properties)
    apply_effects(workspace.id)


def tell(
    workspace: Workspace, contact: Contact, *names: str, at: datetime | None = None, **properties: Any
) -> None:
    """Record events of a contact, and leave what follows to the workers."""
    who = ContactReference(id=str(contact.id))
    outcomes = record_events(
        workspace.id,
        [IncomingEvent(name, who, properties, occurred_at=at) for name in names],
        schema_policy=SchemaPolicy.OPEN,
    )
    assert all(outcome.status == "recorded" for outcome in outcomes), outcomes


def who_is_in(segment: Segment) -> set[UUID]:
    """Return the members by the version that serves."""
    segment.refresh_from_db()
    rows = Membership.objects.filter(workspace_id=segment.workspace_id, version=segment.version)
    return set(rows.values_list("contact_id", flat=True))


def stays(segment: Segment, contact: Contact) -> list[tuple[datetime, datetime | None]]:
    """Return when a contact was in a segment, the first time first."""
    rows = MembershipPeriod.objects.filter(
        workspace_id=segment.workspace_id, segment=segment, contact=contact
    )
    return list(rows.order_by("entered_at").values_list("entered_at", "left_at"))


def told(segment: Segment, contact: Contact) -> list[str]:
    """Return what the stream says of a contact and a segment, in order of time."""
    events = Event.objects.filter(
        workspace_id=segment.workspace_id,
        contact=contact,
        source="system",
        name__startswith="segment.",
        properties__segmentId=str(segment.id),
    )
    return list(events.order_by("occurred_at", "id").values_list("name", flat=True))


class VirtualClock:
    """Time that goes when a test says so."""

    def __init__(self, start: datetime) -> None:
        self.moment = start

    def now(self) -> datetime:
        """Return the moment that it is."""
        return self.moment

    def go(self, **length: float) -> datetime:
        """Let time pass."""
        self.moment += timedelta(**length)
        return self.moment
