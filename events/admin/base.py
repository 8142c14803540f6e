"""Links to events and contacts, and an event's properties in one line."""

from __future__ import annotations

from uuid import UUID

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from config.http.rendering import dumps
from events.models import (
    Event,
)

SUMMARY_LENGTH = 80


def event_link(event: Event) -> SafeString:
    """Return the event's name, linked to its page."""
    url = reverse("admin:events_event_change", args=[event.pk])
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, event.name)


def summary(event: Event) -> str:
    """Return the beginning of the event's properties."""
    return Truncator(dumps(event.properties).decode()).chars(SUMMARY_LENGTH) if event.properties else ""


def contact_link(contact_id: UUID) -> SafeString:
    url = reverse("admin:contacts_contact_change", args=[contact_id])
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, contact_id)
