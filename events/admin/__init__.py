"""Events for staff: the stream, definitions, and the state of processing (batches, timers, parked effects)."""

from events.admin import aggregates, definitions, events, processing
from events.admin.base import event_link
from events.admin.sections import contact_events_section

__all__ = ["aggregates", "contact_events_section", "definitions", "event_link", "events", "processing"]
