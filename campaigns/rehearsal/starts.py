"""What starts a campaign besides events and dates: its schedule, broadcasts, and requests for one contact.

A version's schedule runs at its moment, or at the beginning where that is not in the period; broadcasts by hand and
requests are those of the live campaign, as they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from campaigns.journeys.broadcasts import due_broadcasts, enroll_next_contacts
from campaigns.journeys.definition.triggers import ScheduleTrigger, Trigger
from campaigns.journeys.lifecycle import MANUAL_START, start_by_hand
from campaigns.journeys.plans import ActiveCampaign
from campaigns.models import Broadcast, Campaign, Decision
from config import ids
from config.db.statements import fetch_all
from events.models import Event
from segments.models import MembershipPeriod


@dataclass(frozen=True, slots=True)
class ManualStart:
    """A request that started the campaign for one contact, or was refused."""

    at: datetime
    contact_id: UUID
    event_id: UUID | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Starts:
    """Broadcasts to run, not yet saved, and requests, both by time."""

    broadcasts: Sequence[Broadcast]
    manual: Sequence[ManualStart]

    @property
    def moments(self) -> list[datetime]:
        """When something is started, in order."""
        return sorted(
            {broadcast.due_at for broadcast in self.broadcasts} | {start.at for start in self.manual}
        )


def load_starts(campaign: Campaign, triggers: Sequence[Trigger], since: datetime, until: datetime) -> Starts:
    """Return what starts a version in the period. Called before the tables are hidden."""
    schedules = [trigger for trigger in triggers if isinstance(trigger, ScheduleTrigger)]
    broadcasts = [
        _copy(campaign, scheduled_moment(trigger, since, until), segment_id=trigger.segment_id)
        for trigger in schedules
    ]
    happened = Broadcast.objects.in_workspace(campaign.workspace_id).filter(
        campaign_id=campaign.pk, scheduled_at=None, due_at__gte=since, due_at__lt=until
    )
    broadcasts += [
        _copy(campaign, broadcast.due_at, segment_id=broadcast.segment_id, contact_ids=broadcast.contact_ids)
        for broadcast in happened.exclude(cursor=Broadcast.START)
    ]
    decisions = Decision.objects.in_workspace(campaign.workspace_id).filter(
        campaign_id=campaign.pk,
        kind__in=[Decision.Kind.ENTERED, Decision.Kind.NOT_ENTERED],
        detail__contains={"start": MANUAL_START},
        decided_at__gte=since,
        decided_at__lt=until,
    )
    manual = [
        ManualStart(row.decided_at, row.contact_id, row.event_id, row.detail.get("key"))
        for row in decisions.order_by("decided_at", "id")
    ]
    return Starts(sorted(broadcasts, key=lambda broadcast: broadcast.due_at), manual)


def scheduled_moment(trigger: ScheduleTrigger, since: datetime, until: datetime) -> datetime:
    """Return when a schedule runs in a rehearsal."""
    return trigger.at if trigger.at is not None and since <= trigger.at < until else since


def contacts_of(workspace_id: UUID, starts: Starts) -> set[UUID]:
    """Return the contacts that broadcasts and requests are about: a segment's members of the moment."""
    found = {start.contact_id for start in starts.manual}
    for broadcast in starts.broadcasts:
        found.update(broadcast.contact_ids or ())
        if broadcast.segment_id is not None:
            found.update(members_at(workspace_id, broadcast.segment_id, broadcast.due_at))
    rows = fetch_all(
        "SELECT COALESCE(merged_into_id, id) FROM contacts_contact WHERE workspace_id = %s AND id = ANY(%s)",
        [workspace_id, list(found)],
    )
    return {contact_id for (contact_id,) in rows}


def members_at(workspace_id: UUID, segment_id: UUID, moment: datetime) -> list[UUID]:
    """Return who was a member of a segment at a moment."""
    return [contact_id for (contact_id,) in fetch_all(_MEMBERS, [workspace_id, segment_id, moment, moment])]


_MEMBERS: Final = (
    f"SELECT contact_id FROM {MembershipPeriod._meta.db_table} WHERE workspace_id = %s AND segment_id = %s"
    " AND entered_at <= %s AND (left_at IS NULL OR left_at > %s)"
)


def run_starts(active_campaign: ActiveCampaign, campaign: Campaign, starts: Starts, now: datetime) -> None:
    """Enroll as due broadcasts and requests do, at this moment of a rehearsal."""
    # No other's is there: the table is hidden.
    while (broadcast := due_broadcasts().order_by("due_at").first()) is not None:
        broadcast.record(enroll_next_contacts(broadcast))
        broadcast.save_progress()
    manual = [start for start in starts.manual if start.at == now]
    by_id = Event.objects.by_ids(
        campaign.workspace_id, [start.event_id for start in manual if start.event_id is not None]
    ).in_bulk()
    for start in manual:
        event = by_id.get(start.event_id) if start.event_id is not None else None
        start_by_hand(campaign.workspace_id, active_campaign, start.contact_id, event=event, key=start.key)


def _copy(
    campaign: Campaign,
    due_at: datetime,
    *,
    segment_id: UUID | None,
    contact_ids: list[UUID] | None = None,
) -> Broadcast:
    return Broadcast(
        id=ids.uuid7(),
        workspace_id=campaign.workspace_id,
        campaign=campaign,
        segment_id=segment_id,
        contact_ids=contact_ids,
        due_at=due_at,
        cursor=Broadcast.START,
        created_at=due_at,
    )
