"""Segments, people and what they do, with the least data."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from contacts.models import Contact
from contacts.references import ContactReference
from events.models import Event
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from segments.build import run_build
from segments.definitions import create_segment
from segments.models import Membership, MembershipPeriod, Segment
from workspaces.models import Workspace


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
    run_build(workspace.id, segment.id)
    segment.refresh_from_db()
    return segment


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
