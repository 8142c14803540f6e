"""Export events: rows that import again to the same events."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from json import loads
from typing import Any, Final
from uuid import UUID

from django.db.models import Q, QuerySet

from contacts.imports.exports import CHUNK_ROWS, chunks, contacts_to_export, identities_of, snapshot
from contacts.models import Company, Contact
from events.id_bounds import end_id_of_events, first_id_of_events
from events.models import Event

EVENT_COLUMNS: Final = (
    *("name", "timestamp", "message_id", "email", "phone", "external_id", "anonymous_id", "identifiers"),
    *("company_name", "properties", "context"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EventSelection:
    """Which events: from `since` on, before `until`, of these names, of the contacts of a segment.

    System events follow from others and are left out, unless asked for.
    """

    since: datetime | None = None
    until: datetime | None = None
    names: Collection[str] = ()
    segment: str = ""
    with_system: bool = False


_ALL: Final = EventSelection()


def exported_events(workspace_id: UUID, selection: EventSelection = _ALL) -> Iterator[dict[str, Any]]:
    """Yield events as one moment has them, the oldest first.

    An event without its sender's key gets one of its id. One whose contact was deleted is nobody's.
    """
    events = _selected(workspace_id, selection)
    with snapshot():
        for chunk in chunks(events.order_by("id").iterator(CHUNK_ROWS)):
            identities = identities_of(
                workspace_id, {event.contact_id for event in chunk if event.contact_id}
            )
            companies = dict(
                Company.objects.in_workspace(workspace_id)
                .filter(id__in={event.company_id for event in chunk if event.company_id})
                .values_list("id", "name")
            )
            for event in chunk:
                yield {
                    "name": event.name,
                    "timestamp": event.occurred_at,
                    "message_id": event.message_id or f"event:{event.id}",
                    **(identities.get(event.contact_id, {}) if event.contact_id else {}),
                    "company_name": companies.get(event.company_id) if event.company_id else None,
                    "properties": event.properties,
                    "context": event.context,
                }


def estimate_events(workspace_id: UUID, selection: EventSelection) -> int:
    """Return how many events the database expects."""
    (plan,) = loads(_selected(workspace_id, selection).explain(format="json"))
    return int(plan["Plan"]["Plan Rows"])


def _selected(workspace_id: UUID, selection: EventSelection) -> QuerySet[Event]:
    events = Event.objects.in_workspace(workspace_id)
    if not selection.with_system:
        events = events.exclude(source=Event.Source.SYSTEM)
    if (since := selection.since) is not None:
        events = events.filter(id__gte=first_id_of_events(since), occurred_at__gte=since)
    if (until := selection.until) is not None:
        events = events.filter(id__lt=end_id_of_events(until), occurred_at__lt=until)
    if selection.names:
        events = events.filter(name__in=selection.names)
    if selection.segment:
        members = contacts_to_export(workspace_id, segment=selection.segment).order_by().values("id")
        merged = Contact.objects.in_workspace(workspace_id).filter(merged_into__in=members)
        events = events.filter(Q(contact__in=members) | Q(contact__in=merged.values("id")))
    return events
