"""The wheel below all others: what all-time conditions read, kept up to date."""

from collections import defaultdict
from uuid import UUID

from events.models import Event
from events.services import EffectBatch, EffectEvent, lane_of, recount_aggregates
from events.services.effects import only_where
from events.services.measures import add_to_aggregates, kept_measures, measured_names


def _is_measured(batch: EffectBatch) -> bool:
    return measured_names.speak_of(batch.workspace_id, batch.rules_version, batch.names)


@only_where(_is_measured)
def keep_aggregates(batch: EffectBatch) -> None:
    """Count each event once in the aggregates that some rule reads; a repeat is counted anew from the stream."""
    measured_names.keep(batch.workspace_id, batch.rules_version)
    events: dict[str, list[EffectEvent]] = defaultdict(list)
    for event in batch.events:
        events[event.name].append(event)
    kept = kept_measures(batch.workspace_id, events) if events else []
    for name in {measure.spec.event_name for measure in kept}:
        measures = [measure for measure in kept if measure.spec.event_name == name and measure.lanes_built]
        new = [event for event in events[name] if not event.is_repeat]
        if measures and new:
            add_to_aggregates(batch.workspace_id, new, [lane_of(event.contact_id) for event in new], measures)
        repeated = [event.id for event in events[name] if event.is_repeat]
        if measures and repeated:
            specs = [measure.spec for measure in measures]
            recount_aggregates(batch.workspace_id, _contacts_of(batch.workspace_id, repeated), specs)


def _contacts_of(workspace_id: UUID, event_ids: list[UUID]) -> list[UUID]:
    """Return the contacts that events came with: aggregates are theirs, not their survivors'."""
    events = Event.objects.filter(workspace_id=workspace_id, id__in=event_ids, contact_id__isnull=False)
    return [contact_id for contact_id in events.values_list("contact_id", flat=True).distinct() if contact_id]
