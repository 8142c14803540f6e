"""Broadcasts: schedule, reschedule, cancel and process the enrollment of a whole segment or list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from campaigns.errors import (
    BroadcastAlreadyStarted,
    BroadcastFinished,
    BroadcastNotFound,
    InvalidDefinition,
    StartInPast,
)
from campaigns.journeys.campaign_failures import park_campaign
from campaigns.journeys.eligibility import Candidate
from campaigns.journeys.enrollment import enroll
from campaigns.journeys.goals_and_exits import ids_by_canonical_contact
from campaigns.journeys.plans import to_active_campaign
from campaigns.models import Broadcast, Campaign
from campaigns.wake_ups import campaign_wake_ups
from config import clock, ids
from config.beat_schedule import PROCESS_DUE_BROADCASTS
from config.db.backfill import Backfill, Batch
from config.db.bulk import insert_rows
from config.http.rendering import iso_millis
from config.runtime.beat_notifications import notify_beat
from contacts.identity.lookup import find
from events.processing.passes import bump_rules_version, lock_rules
from segments.models import Membership, Segment

BATCH_SIZE: Final = 1_000


def new_broadcast(
    campaign: Campaign,
    *,
    at: datetime,
    segment_id: UUID | None = None,
    contact_ids: list[UUID] | None = None,
    scheduled_at: datetime | None = None,
    actor: str = "",
) -> Broadcast:
    """Return a broadcast of a campaign at `at`, to a segment or a list of contacts; `schedule_broadcasts` saves it.

    `scheduled_at`: the time in the schedule trigger, if one plans it. `actor`: recorded in the broadcast's changes.
    """
    return Broadcast(
        workspace_id=campaign.workspace_id,
        campaign=campaign,
        segment_id=segment_id,
        contact_ids=contact_ids,
        due_at=at,
        cursor=Broadcast.START,
        scheduled_at=scheduled_at,
        changes=[_change_entry("planned", actor, at)],
    )


def schedule_broadcasts(workspace_id: UUID, broadcasts: Sequence[Broadcast]) -> None:
    """Save new broadcasts, and have them processed when they are due."""
    insert_rows(broadcasts)
    if broadcasts:
        campaign_wake_ups.wake(workspace_id)
        notify_beat(PROCESS_DUE_BROADCASTS, min(broadcast.due_at for broadcast in broadcasts))


def is_past(moment: datetime) -> bool:
    """Return whether a start time has passed, with PAST_START_SECONDS of tolerance for requests under way."""
    return moment < clock.now() - timedelta(seconds=settings.PAST_START_SECONDS)


@transaction.atomic
def reschedule_broadcast(
    workspace_id: UUID, broadcast_id: UUID, at: datetime, *, actor: str = ""
) -> Broadcast:
    """Move a broadcast that has not begun to another time.

    Raises BroadcastNotFound, BroadcastFinished, BroadcastAlreadyStarted, StartInPast.
    """
    broadcast = _lock_unfinished(workspace_id, broadcast_id)
    if broadcast.has_begun:
        raise BroadcastAlreadyStarted
    if is_past(at):
        raise StartInPast
    broadcast.due_at = at
    broadcast.changes = [*broadcast.changes, _change_entry("moved", actor, at)]
    broadcast.save(update_fields=["due_at", "changes"])
    campaign_wake_ups.wake(workspace_id)
    notify_beat(PROCESS_DUE_BROADCASTS, at)
    return broadcast


@transaction.atomic
def cancel_broadcast(workspace_id: UUID, broadcast_id: UUID, *, actor: str = "") -> Broadcast:
    """Stop a broadcast. Enrollments that it started already continue.

    Raises BroadcastNotFound, BroadcastFinished.
    """
    broadcast = _lock_unfinished(workspace_id, broadcast_id)
    broadcast.finished_at = broadcast.cancelled_at = clock.now()
    broadcast.changes = [*broadcast.changes, _change_entry("cancelled", actor)]
    broadcast.save(update_fields=["finished_at", "cancelled_at", "changes"])
    return broadcast


def _lock_unfinished(workspace_id: UUID, broadcast_id: UUID) -> Broadcast:
    """Lock an unfinished broadcast, after the batch that is being processed."""
    broadcasts = Broadcast.objects.in_workspace(workspace_id).filter(id=broadcast_id)
    broadcast = broadcasts.select_for_update().first()
    if broadcast is None:
        raise BroadcastNotFound
    if broadcast.finished_at is not None:
        raise BroadcastFinished
    return broadcast


def _change_entry(kind: str, actor: str, due_at: datetime | None = None) -> dict[str, str | None]:
    due = iso_millis(due_at) if due_at is not None else None
    return {"kind": kind, "at": iso_millis(clock.now()), "by": actor or None, "dueAt": due}


def due_broadcasts() -> QuerySet[Broadcast]:
    """Return the due broadcasts of active campaigns."""
    return Broadcast.objects.filter(
        finished_at=None,
        due_at__lte=clock.now(),
        campaign__status=Campaign.Status.ACTIVE,
        campaign__parked_at=None,
        campaign__active_version__isnull=False,
    ).select_related("campaign__active_version")


@contextmanager
def _hold_rules(broadcast: Broadcast) -> Iterator[None]:
    """Lock the rules before the broadcast, in the same order as `archive_campaign`."""
    with transaction.atomic(durable=True):
        (bump_rules_version if _is_through(broadcast) else lock_rules)(broadcast.workspace_id)
        yield


def _is_through(broadcast: Broadcast) -> bool:
    return bool(broadcast.cursor == _END)


def enroll_next_contacts(broadcast: Broadcast) -> Batch:
    """Enroll the next contacts of a broadcast; after the last of them, finish it."""
    if _is_through(broadcast):
        _complete_campaign(broadcast)
        return Batch(None)
    workspace_id, campaign, now = broadcast.workspace_id, broadcast.campaign, clock.now()
    try:
        active_campaign = to_active_campaign(campaign, campaign.active_version)  # type: ignore[arg-type]  # due
    except InvalidDefinition as error:
        park_campaign(workspace_id, campaign.id, error, now)
        return Batch(broadcast.cursor)
    contact_ids, last = _next_contact_batch(broadcast)
    source = f"broadcast:{broadcast.id}"
    candidates = [
        Candidate(contact_id=contact_id, source=source, occurred_at=now, value=source)
        for contact_id in contact_ids
    ]
    enroll(workspace_id, [active_campaign], candidates, now)
    return Batch(str(last) if last else _END, done=len(contact_ids))


def _next_contact_batch(broadcast: Broadcast) -> tuple[list[UUID], UUID | None]:
    """Return the contacts of the next batch and the id to continue after; None: there are no more."""
    after = UUID(broadcast.cursor)
    if broadcast.contact_ids is not None:
        wanted = [contact_id for contact_id in broadcast.contact_ids if contact_id > after][:BATCH_SIZE]
        return _canonical_contacts(broadcast, wanted), wanted[-1] if wanted else None
    segments = Segment.objects.in_workspace(broadcast.workspace_id)
    segment = segments.filter(id=broadcast.segment_id or ids.NO_ID).first()
    if segment is None:
        return [], None
    members = Membership.objects.in_workspace(broadcast.workspace_id).filter(
        version=segment.version, contact__gt=after
    )
    found = list(members.order_by("contact").values_list("contact_id", flat=True)[:BATCH_SIZE])
    return found, found[-1] if found else None


def _canonical_contacts(broadcast: Broadcast, wanted: Sequence[UUID]) -> list[UUID]:
    """Return the canonical contacts of a batch of the list.

    Of contacts on the list that were merged since, only the one with the lowest id enrolls the survivor.
    """
    listed = set(broadcast.contact_ids or ())
    survivors = set(find(broadcast.workspace_id, wanted).by_id.values())
    persons = ids_by_canonical_contact(broadcast.workspace_id, survivors)
    earliest = {survivor: min(listed.intersection(ids)) for survivor, ids in persons.items()}
    here = set(wanted)
    return sorted(survivor for survivor, first in earliest.items() if first in here)


def _complete_campaign(broadcast: Broadcast) -> None:
    """Complete a campaign of type BROADCAST with its last broadcast."""
    workspace_id, campaign_id = broadcast.workspace_id, broadcast.campaign_id
    unfinished = Broadcast.objects.in_workspace(workspace_id).filter(campaign=campaign_id, finished_at=None)
    if not unfinished.exclude(id=broadcast.id).exists():
        Campaign.objects.in_workspace(workspace_id).active().filter(
            id=campaign_id, type=Campaign.Type.BROADCAST
        ).update(status=Campaign.Status.COMPLETED, updated_at=clock.now())


_END: Final = "end"
"""The cursor after the last contact."""
BROADCASTS: Final = Backfill(
    due_broadcasts, enroll_next_contacts, hold=_hold_rules, held_for=_is_through, skip_locked=True
)
"""Broadcasts whose contacts are being enrolled."""
