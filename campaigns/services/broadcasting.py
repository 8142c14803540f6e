"""Campaigns that start for many at a moment: all of a segment, or of a list, some at a time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction

from campaigns.errors import (
    BroadcastBegun,
    BroadcastFinished,
    BroadcastNotFound,
    InvalidDefinition,
    InvalidStart,
)
from campaigns.models import Broadcast, Campaign
from campaigns.services.enrolling import Candidate, enrol
from campaigns.services.noticing import person_ids
from campaigns.services.parking import set_campaign_aside
from campaigns.services.plans import starter_of
from campaigns.signals import campaign_waits
from config import clock, ids
from config.rendering import iso_millis
from config.schedule import notify_beat
from contacts.services.lookup import find
from events.services import bump_rules_version, hold_rules
from segments.models import Membership, Segment

CHUNK: Final = 1_000


def plan_broadcast(
    campaign: Campaign,
    *,
    at: datetime,
    segment_id: UUID | None = None,
    contact_ids: list[UUID] | None = None,
    scheduled_at: datetime | None = None,
    by: str = "",
) -> Broadcast:
    """Have a campaign started at a moment for a segment or for contacts.

    `scheduled_at`: the moment as a schedule has it. `by`: who did it, for the record.
    """
    broadcast = Broadcast.objects.create(
        workspace_id=campaign.workspace_id,
        campaign=campaign,
        segment_id=segment_id,
        contact_ids=contact_ids,
        due_at=at,
        scheduled_at=scheduled_at,
        changes=[_change("planned", by, at)],
    )
    campaign_waits.send(sender=Campaign, workspace_id=campaign.workspace_id)
    notify_beat("broadcasts", at)
    return broadcast


def is_past(moment: datetime) -> bool:
    """Whether a moment is too long gone for something to be started at it; what is under way counts as now."""
    return moment < clock.now() - timedelta(seconds=settings.PAST_START_SECONDS)


@transaction.atomic
def move_broadcast(workspace_id: UUID, broadcast_id: UUID, at: datetime, *, by: str = "") -> Broadcast:
    """Have a broadcast that has not begun start at another moment.

    Raises BroadcastNotFound, BroadcastFinished, BroadcastBegun, InvalidStart.
    """
    broadcast = _hold(workspace_id, broadcast_id)
    if broadcast.after is not None:
        raise BroadcastBegun
    if is_past(at):
        raise InvalidStart
    broadcast.due_at = at
    broadcast.changes = [*broadcast.changes, _change("moved", by, at)]
    broadcast.save(update_fields=["due_at", "changes"])
    campaign_waits.send(sender=Campaign, workspace_id=workspace_id)
    notify_beat("broadcasts", at)
    return broadcast


@transaction.atomic
def cancel_broadcast(workspace_id: UUID, broadcast_id: UUID, *, by: str = "") -> Broadcast:
    """Have a broadcast take nobody any more; runs of those whom it took go on.

    Raises BroadcastNotFound, BroadcastFinished.
    """
    broadcast = _hold(workspace_id, broadcast_id)
    broadcast.finished_at = broadcast.cancelled_at = clock.now()
    broadcast.changes = [*broadcast.changes, _change("cancelled", by)]
    broadcast.save(update_fields=["finished_at", "cancelled_at", "changes"])
    return broadcast


def _hold(workspace_id: UUID, broadcast_id: UUID) -> Broadcast:
    """Wait for who takes contacts of a broadcast, and lock it."""
    broadcasts = Broadcast.objects.filter(workspace_id=workspace_id, id=broadcast_id)
    broadcast = broadcasts.select_for_update().first()
    if broadcast is None:
        raise BroadcastNotFound
    if broadcast.finished_at is not None:
        raise BroadcastFinished
    return broadcast


def _change(kind: str, by: str, due_at: datetime | None = None) -> dict[str, str | None]:
    due = iso_millis(due_at) if due_at is not None else None
    return {"kind": kind, "at": iso_millis(clock.now()), "by": by or None, "dueAt": due}


def due_broadcasts() -> list[tuple[UUID, UUID]]:
    """Return the (workspace, broadcast) that are due in campaigns that are active."""
    due = Broadcast.objects.filter(
        finished_at=None,
        due_at__lte=clock.now(),
        campaign__status=Campaign.Status.ACTIVE,
        campaign__parked_at=None,
    )
    return list(due.order_by("due_at").values_list("workspace_id", "id"))


def take_broadcast(workspace_id: UUID, broadcast_id: UUID) -> bool:
    """Let in the next contacts of a broadcast. Returns whether there may be more; not so if another has it."""
    with transaction.atomic(durable=True):
        hold_rules(workspace_id)
        broadcast = _lock(workspace_id, broadcast_id)
        if broadcast is None:
            return False
        campaign, now = broadcast.campaign, clock.now()
        if campaign.status != Campaign.Status.ACTIVE or campaign.parked_at or campaign.version is None:
            return False
        try:
            starter = starter_of(campaign, campaign.version)
        except InvalidDefinition as error:
            set_campaign_aside(workspace_id, campaign.id, error, now)
            return False
        contact_ids, last = _next_contacts(broadcast)
        if last is not None:
            source = f"broadcast:{broadcast.id}"
            candidates = [
                Candidate(contact_id=one, source=source, occurred_at=now, value=source) for one in contact_ids
            ]
            enrol(workspace_id, [starter], candidates, now)
            broadcast.taken += len(contact_ids)
            broadcast.after = last
            broadcast.save(update_fields=["taken", "after"])
            return True
    _finish(workspace_id, broadcast_id)
    return False


def _lock(workspace_id: UUID, broadcast_id: UUID) -> Broadcast | None:
    """Lock a broadcast that is due and not finished, unless another has it: it may just have been moved."""
    broadcasts = Broadcast.objects.filter(
        workspace_id=workspace_id, id=broadcast_id, finished_at=None, due_at__lte=clock.now()
    )
    rows = broadcasts.select_related("campaign__version")
    return rows.select_for_update(of=("self",), skip_locked=True).first()


def _next_contacts(broadcast: Broadcast) -> tuple[list[UUID], UUID | None]:
    """Return the next contacts, and the last one that was looked at; None: there are no more."""
    after = broadcast.after or UUID(int=0)
    if broadcast.contact_ids is not None:
        wanted = [one for one in broadcast.contact_ids if one > after][:CHUNK]
        return _persons_on(broadcast, wanted), wanted[-1] if wanted else None
    segments = Segment.objects.in_workspace(broadcast.workspace_id)
    segment = segments.filter(id=broadcast.segment_id or ids.NO_ID).first()
    if segment is None:
        return [], None
    members = Membership.objects.filter(
        workspace_id=broadcast.workspace_id, version=segment.version, contact__gt=after
    )
    found = list(members.order_by("contact").values_list("contact_id", flat=True)[:CHUNK])
    return found, found[-1] if found else None


def _persons_on(broadcast: Broadcast, wanted: Sequence[UUID]) -> list[UUID]:
    """Return who stands for these of the list; of several that were merged since, the first on it brings them in."""
    listed = set(broadcast.contact_ids or ())
    survivors = set(find(broadcast.workspace_id, wanted).by_id.values())
    persons = person_ids(broadcast.workspace_id, survivors)
    earliest = {survivor: min(listed.intersection(ids)) for survivor, ids in persons.items()}
    here = set(wanted)
    return sorted(survivor for survivor, first in earliest.items() if first in here)


def _finish(workspace_id: UUID, broadcast_id: UUID) -> None:
    """Finish a broadcast, and with the last one a campaign that is nothing but broadcasts.

    The rules first, the broadcast then: in this order, as who archives a campaign.
    """
    with transaction.atomic(durable=True):
        bump_rules_version(workspace_id)
        broadcast = _lock(workspace_id, broadcast_id)
        if broadcast is None:
            return
        broadcast.finished_at = clock.now()
        broadcast.save(update_fields=["finished_at"])
        of_campaign = Broadcast.objects.filter(workspace_id=workspace_id, campaign=broadcast.campaign_id)
        if not of_campaign.filter(finished_at=None).exists():
            Campaign.objects.in_workspace(workspace_id).active().filter(
                id=broadcast.campaign_id, type=Campaign.Type.BROADCAST
            ).update(status=Campaign.Status.COMPLETED, updated_at=clock.now())
