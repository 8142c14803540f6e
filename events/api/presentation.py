"""How events look in the native format."""

from collections.abc import Iterable, Sequence
from typing import Any

from config.http.rendering import iso_millis
from contacts.api.presentation import Row, briefs
from contacts.models import Contact
from events.api.shapes import CONTEXT_FIELDS
from events.models import Event
from events.rules import CONTACT_EVENT_PREFIXES
from events.stream.group_commit import ContactReader
from events.stream.queries import list_events
from events.stream.types import RecordedEvent
from workspaces.models import Workspace

EVENTS_OF_A_CONTACT = 50


def rows(workspace: Workspace, events: Sequence[Event], read_contacts: ContactReader = briefs) -> list[Row]:
    """Return events as the list shows them; one statement for the contacts of all."""
    contacts = read_contacts(workspace.id, {event.contact_id for event in events if event.contact_id})
    return [
        {**_row(event), "contact": event.contact_id and contacts.get(event.contact_id)} for event in events
    ]


def without_contacts(event: Event) -> Event:
    """Return an event as it is shown to who may not read contacts: what it notes of one is left out."""
    if event.source == Event.Source.SYSTEM and event.name.startswith(CONTACT_EVENT_PREFIXES):
        event.properties = {}
    return event


def whole(event: Event | RecordedEvent, contact: Row | None) -> Row:
    """Return an event with all that its sender said of it."""
    return {
        "id": str(event.id),
        "workspaceId": str(event.workspace_id),
        "type": event.name,
        "contactId": contact["id"] if contact else event.contact_id and str(event.contact_id),
        "metadata": event.properties,
        **{name: event.context.get(name) for name in CONTEXT_FIELDS},
        "timestamp": iso_millis(event.occurred_at),
        "contact": contact,
    }


def with_contact(event: Event | RecordedEvent, read_contacts: ContactReader = briefs) -> Row:
    """Return a whole event; one statement where it has a contact."""
    contact_ids: Iterable[Any] = [event.contact_id] if event.contact_id else []
    contacts = read_contacts(event.workspace_id, list(contact_ids))
    return whole(event, next(iter(contacts.values()), None))


def recent_events(workspace: Workspace, contact: Contact) -> list[Row]:
    """Return what a contact's answer shows of its events."""
    events = list_events(workspace.id, contact_id=contact.id, limit=EVENTS_OF_A_CONTACT)
    return [_row(event) for event in events]


def _row(event: Event) -> Row:
    return {
        "id": str(event.id),
        "type": event.name,
        "metadata": event.properties,
        "timestamp": iso_millis(event.occurred_at),
    }
