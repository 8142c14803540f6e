"""Export events: rows that import again to the same events."""

from collections.abc import Collection, Iterator
from datetime import datetime
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


def exported_events(
    workspace_id: UUID,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    names: Collection[str] = (),
    segment: str = "",
    with_system: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield events as one moment has them, the oldest first: from `since` on, before `until`.

    System events follow from others and are left out, unless asked for. An event without its sender's key gets one of
    its id. One whose contact was deleted is nobody's.
    """
    events = _selected(workspace_id, since, until, names, segment, with_system)
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


def _selected(
    workspace_id: UUID,
    since: datetime | None,
    until: datetime | None,
    names: Collection[str],
    segment: str,
    with_system: bool,
) -> QuerySet[Event]:
    events = Event.objects.in_workspace(workspace_id)
    if not with_system:
        events = events.exclude(source=Event.Source.SYSTEM)
    if since is not None:
        events = events.filter(id__gte=first_id_of_events(since), occurred_at__gte=since)
    if until is not None:
        events = events.filter(id__lt=end_id_of_events(until), occurred_at__lt=until)
    if names:
        events = events.filter(name__in=names)
    if segment:
        members = contacts_to_export(workspace_id, segment=segment).order_by().values("id")
        merged = Contact.objects.in_workspace(workspace_id).filter(merged_into__in=members)
        events = events.filter(Q(contact__in=members) | Q(contact__in=merged.values("id")))
    return events
