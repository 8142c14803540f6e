"""What the page of a contact shows of events."""

from __future__ import annotations

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from contacts.models import Contact
from events.admin.base import event_link, summary
from events.models import (
    Event,
)
from events.stream.queries import list_events
from workspaces.staff.links import list_link
from workspaces.staff.sections import shows

SECTION_ROWS = 20


@shows(Event)
def contact_events_section(contact: Contact) -> SafeString:
    """Return the contact's last events, for its page."""
    events = list_events(contact.workspace_id, contact_id=contact.pk, limit=SECTION_ROWS)
    rows = [
        [
            event_link(event),
            f"{event.occurred_at:%Y-%m-%d %H:%M:%S}",
            event.get_source_display(),
            summary(event),
        ]
        for event in events
    ]
    return render_to_string(
        "admin/events/contact_events.html",
        {
            "table": {"headers": ["Event", "Occurred (UTC)", "Source", "Properties"], "rows": rows},
            "footer": list_link("events_event", "All events", workspace=contact.workspace_id, q=contact.pk),
        },
    )
