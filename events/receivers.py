"""Signal receivers: a batch wakes the workers, an event saved by the ORM gets its batch, contact changes
are recorded.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from django.db.models.signals import post_save, pre_save
from django.dispatch import receiver

from config.ids import time_of, uuid7
from contacts.signals import ContactChange, contacts_changed, contacts_reassigned, reassigning_contacts
from events.id_bounds import in_milliseconds
from events.lane_changes import lock_lanes_of_contacts, move_contacts
from events.models import EffectsLevel, Event, EventBatch
from events.processing.worker import wake_ups
from events.stream.contact_changes import record_contact_changes
from events.stream.outbox import enqueue_events
from events.stream.partitions import ensure_partitions


@receiver(post_save, sender=EventBatch, dispatch_uid="events.wake_workers")
def wake_workers(instance: EventBatch, created: bool, raw: bool = False, **kwargs: Any) -> None:
    """Request a wake-up once the batch is committed."""
    if created and not raw:
        wake_ups.wake(instance.workspace_id)


@receiver(pre_save, sender=Event, dispatch_uid="events.date_saved_event")
def date_saved_event(instance: Event, raw: bool = False, **kwargs: Any) -> None:
    """Give an event that is saved by the ORM an id of its time, and its partition."""
    if instance._state.adding and not raw:
        if time_of(instance.id) != in_milliseconds(instance.occurred_at) and not instance.is_ahead:
            instance.id = uuid7(instance.occurred_at)
        ensure_partitions({time_of(instance.id)})


@receiver(post_save, sender=Event, dispatch_uid="events.enqueue_saved_event")
def enqueue_saved_event(instance: Event, created: bool, raw: bool = False, **kwargs: Any) -> None:
    """Enqueue an event that was saved by the ORM, so that it has its effects."""
    if created and not raw and instance.contact_id is not None:
        enqueue_events(instance.workspace_id, [(instance.id, instance.contact_id)], level=EffectsLevel.ALL)


@receiver(contacts_changed, dispatch_uid="events.record_contact_changes")
def record_changes(workspace_id: UUID, changes: Sequence[ContactChange], **kwargs: Any) -> None:
    """Record changes of contacts as system events."""
    record_contact_changes(workspace_id, changes)


@receiver(reassigning_contacts, dispatch_uid="events.lock_contact_lanes")
def lock_contact_lanes(workspace_id: UUID, contact_ids: Collection[UUID], **kwargs: Any) -> None:
    """Lock the lanes of contacts before a merge, its undo or an erasure."""
    lock_lanes_of_contacts(workspace_id, contact_ids)


@receiver(contacts_reassigned, dispatch_uid="events.move_merged_contacts")
def move_merged_contacts(
    workspace_id: UUID, moved: Sequence[UUID], old_survivor: UUID, new_survivor: UUID, **kwargs: Any
) -> None:
    """Move what is kept by lane after a merge or its undo."""
    move_contacts(workspace_id, moved, old_survivor=old_survivor, new_survivor=new_survivor)
