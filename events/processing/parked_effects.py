"""The dead-letter queue of effects: those that failed are parked with their error until somebody retries them."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet

from config.db.errors import storable_error
from events.models import EffectsLevel, Event, ParkedEffect
from events.stream.outbox import enqueue_events


def park(
    workspace_id: UUID, *, effect: str, subject: str, levels: Mapping[UUID, int], error: Exception
) -> None:
    """Park a failed effect under its key; a retry calls the effect with its events again.

    `levels`: by event. Those of one level have a row of their own: what is history stays so in a retry.
    """
    by_level: dict[int, list[UUID]] = defaultdict(list)
    for event_id, level in levels.items():
        by_level[level].append(event_id)
    # What is due is about no event.
    for level, event_ids in sorted(by_level.items()) or [(EffectsLevel.ALL, [])]:
        ParkedEffect.objects.create(
            workspace_id=workspace_id,
            effect=effect,
            subject=subject,
            event_ids=event_ids,
            level=level,
            error=storable_error(error),
        )


def parked_keys(workspace_id: UUID, effect: str, subjects: Collection[str]) -> set[str]:
    """Return which of the keys are parked for this effect."""
    return set(
        ParkedEffect.objects.in_workspace(workspace_id)
        .filter(effect=effect, subject__in=subjects)
        .values_list("subject", flat=True)
    )


@transaction.atomic
def retry_parked(parked: QuerySet[ParkedEffect]) -> int:
    """Enqueue the events of parked effects again and delete the parked rows. Effects apply nothing twice.
    Returns the rows.
    """
    rows = list(parked.select_for_update())
    for row in rows:
        events = Event.objects.by_ids(row.workspace_id, row.event_ids).filter(contact_id__isnull=False)
        contacts = events.values_list("id", "contact_id")
        enqueue_events(row.workspace_id, contacts, level=row.level, is_repeat=True)
    ParkedEffect.objects.filter(id__in=[row.id for row in rows]).delete()
    return len(rows)
