"""Links to events and contacts, and an event's properties in one line."""

from __future__ import annotations

from uuid import UUID

from django.utils.safestring import SafeString
from django.utils.text import Truncator

from config.http.rendering import dumps
from events.models import (
    Event,
)
from workspaces.staff.links import link

SUMMARY_LENGTH = 80


def event_link(event: Event) -> SafeString:
    """Return the event's name, linked to its page."""
    return link("events_event_change", event.pk, event.name)


def summary(event: Event) -> str:
    """Return the beginning of the event's properties."""
    return Truncator(dumps(event.properties).decode()).chars(SUMMARY_LENGTH) if event.properties else ""


def contact_link(contact_id: UUID) -> SafeString:
    return link("contacts_contact_change", contact_id, contact_id)
