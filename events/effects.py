"""The events app's effect, called by `events.processing.passes`: count new events in aggregates.

It runs before the effects of upper apps: all-time conditions read what it counts.
"""

from collections import defaultdict
from uuid import UUID

from events.aggregates.registry import (
    add_to_aggregates,
    aggregated_event_names,
    maintained_aggregates,
    recompute_aggregates,
)
from events.models import Event
from events.processing.passes import EffectBatch, EffectEvent, runs_only_when
from events.stream.outbox import lane_of


def _has_aggregated_events(batch: EffectBatch) -> bool:
    return aggregated_event_names.may_include(batch.workspace_id, batch.rules_version, batch.names)


@runs_only_when(_has_aggregated_events)
def maintain_aggregates(batch: EffectBatch) -> None:
    """Count each event once in the aggregates that some rule reads; a repeat is counted anew from the stream."""
    aggregated_event_names.keep(batch.workspace_id, batch.rules_version)
    events: dict[str, list[EffectEvent]] = defaultdict(list)
    for event in batch.events:
        events[event.name].append(event)
    kept = maintained_aggregates(batch.workspace_id, events) if events else []
    for name in {aggregate.spec.event_name for aggregate in kept}:
        aggregates = [
            aggregate for aggregate in kept if aggregate.spec.event_name == name and aggregate.lanes_built
        ]
        new = [event for event in events[name] if not event.is_repeat]
        if aggregates and new:
            add_to_aggregates(
                batch.workspace_id, new, [lane_of(event.contact_id) for event in new], aggregates
            )
        repeated = [event.id for event in events[name] if event.is_repeat]
        if aggregates and repeated:
            specs = [aggregate.spec for aggregate in aggregates]
            recompute_aggregates(batch.workspace_id, _contacts_of(batch.workspace_id, repeated), specs)


def _contacts_of(workspace_id: UUID, event_ids: list[UUID]) -> list[UUID]:
    """Return the contacts that the events came with: aggregates are kept by these, not by their survivors."""
    events = Event.objects.by_ids(workspace_id, event_ids).filter(contact_id__isnull=False)
    return [contact_id for contact_id in events.values_list("contact_id", flat=True).distinct() if contact_id]
