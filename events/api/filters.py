"""Filters of the list of events."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

import django_filters

from config.ids import parse_uuid
from config.values.names import composed
from events.models import Event
from events.stream.queries import list_events

PageReader = Callable[[UUID | None, int], Sequence[Event]]
"""Returns so many events after the one of an id, None: from the first."""


class EventFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Events by contact and type."""

    contactId = django_filters.CharFilter(help_text="Filter by contact", strip=False)
    type = django_filters.CharFilter(help_text="Filter by event type", strip=False)

    class Meta:
        model = Event
        fields: list[str] = []

    def filter_queryset(self, events: Any) -> PageReader:
        """Return what reads a page: a contact's events are read by its ids, one after the other."""
        texts = self.form.cleaned_data
        contact_id = parse_uuid(texts["contactId"])
        if texts["contactId"] and contact_id is None:
            return _no_events
        workspace_id = self.request.parser_context["view"].workspace.id
        return partial(_page, workspace_id, contact_id, composed(texts["type"]) or None)


def _page(
    workspace_id: UUID, contact_id: UUID | None, name: str | None, before: UUID | None, count: int
) -> Sequence[Event]:
    return list_events(workspace_id, contact_id=contact_id, name=name, limit=count, before=before)


def _no_events(before: UUID | None, count: int) -> Sequence[Event]:
    return []
