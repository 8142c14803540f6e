"""Date triggers: schedule a timer for each contact's date, and enroll the contact when it is due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from campaigns.errors import InvalidDefinition
from campaigns.journeys.campaign_failures import park_campaign
from campaigns.journeys.eligibility import Candidate
from campaigns.journeys.enrollment import enroll
from campaigns.journeys.local_time import occurrence_after
from campaigns.journeys.plans import (
    ActiveCampaign,
    ActiveDateTrigger,
    CampaignPlan,
    active_date_triggers,
    to_active_campaign,
)
from campaigns.messaging.policy import settings_of
from campaigns.messaging.recipients import Recipient, load_recipients
from campaigns.models import Campaign, CampaignVersion
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from config import clock
from config.db.backfill import Batch
from config.db.statements import fetch_all
from events.names import CONTACT_CREATED, CONTACT_UPDATED, MERGE_EVENTS
from events.processing.lane_backfills import LaneBackfill, LanePosition, begin_lanes, cancel_lanes
from events.processing.passes import DueTimer, EffectBatch
from events.processing.timers import cancel_timers, schedule_timers

MAX_DELAY: Final = timedelta(hours=72)
"""A date that is processed later than this, after downtime say, starts no enrollment."""
BATCH_SIZE: Final = 1_000
_TICK: Final = timedelta(microseconds=1)
CONTACT_CHANGE_EVENTS: Final = frozenset({CONTACT_CREATED, CONTACT_UPDATED, *MERGE_EVENTS})
Served = Sequence[tuple[Campaign, CampaignVersion]]
"""Versions that serve or have served, each with its campaign."""


def process_date_triggers(batch: EffectBatch, plan: CampaignPlan) -> None:
    """Enroll contacts whose date is due, and schedule the next timer of these and of changed contacts."""
    if not plan.dates:
        return
    due = [timer for timer in batch.due if timer.timer_key in plan.dates]
    changed = {event.contact_id for event in batch.system_events if event.name in CONTACT_CHANGE_EVENTS}
    if not due and not changed:
        return
    people = load_recipients(batch.workspace_id, changed | {timer.contact_id for timer in due})
    zone = _default_zone(batch.workspace_id)
    for date_trigger, due_timers in _by_trigger(due, plan):
        _enroll_due(batch, date_trigger, due_timers, people, zone)
    _schedule_next(batch.workspace_id, list(plan.dates.values()), people, changed, zone, batch.now)


def start_date_backfills(workspace_id: UUID, serving: Served) -> None:
    """Have timers scheduled for all contacts in the background, for those versions that have date triggers.

    Call it with the rules held by an edit.
    """
    dated = [
        version.id
        for campaign, version in serving
        if any(True for _ in active_date_triggers(to_active_campaign(campaign, version)))
    ]
    if dated:
        begin_lanes(DATES.path, workspace_id, *dated)


def cancel_date_timers(workspace_id: UUID, served: Served) -> None:
    """Cancel the date timers of versions and the backfills of them; with the rules held by an edit."""
    cancel_lanes(DATES.path, workspace_id, *[version.id for _, version in served])
    timer_keys: list[UUID] = []
    for campaign, version in served:
        with suppress(InvalidDefinition):  # an unreadable definition has no timers
            date_triggers = active_date_triggers(to_active_campaign(campaign, version))
            timer_keys += [date_trigger.timer_key for date_trigger in date_triggers]
    if timer_keys:
        cancel_timers(workspace_id, timer_keys=timer_keys)


def schedule_dates(
    workspace_id: UUID, active_campaign: ActiveCampaign, contact_ids: list[UUID], since: datetime
) -> None:
    """Schedule the timers of contacts for their first dates after `since`."""
    date_triggers = list(active_date_triggers(active_campaign))
    fields = [date_trigger.trigger.attribute for date_trigger in date_triggers]
    dated = [contact_id for (contact_id,) in fetch_all(_WITH_ATTRIBUTES, [workspace_id, contact_ids, fields])]
    people = load_recipients(workspace_id, dated)
    _schedule_next(workspace_id, date_triggers, people, dated, _default_zone(workspace_id), since)


def _schedule_batch(position: LanePosition) -> Batch:
    """Schedule the timers of the next contacts for a newly active version.

    Contacts that change meanwhile are scheduled by the campaigns effect.
    """
    workspace_id = position.workspace_id
    versions = CampaignVersion.objects.in_workspace(workspace_id).filter(id=position.subject_id)
    version = versions.select_related("campaign").first()
    if version is None:
        return Batch(None)
    contact_ids = position.contacts(BATCH_SIZE)
    try:
        active_campaign = to_active_campaign(version.campaign, version)
    except InvalidDefinition as error:
        park_campaign(workspace_id, version.campaign_id, error, clock.now())
        return Batch(None)
    schedule_dates(workspace_id, active_campaign, contact_ids, position.since)
    return Batch(str(contact_ids[-1]) if len(contact_ids) == BATCH_SIZE else None, done=len(contact_ids))


def _default_zone(workspace_id: UUID) -> str:
    return settings_of(workspace_id, Channel.EMAIL).time_zone


def _by_trigger(
    due: Iterable[DueTimer], plan: CampaignPlan
) -> Iterable[tuple[ActiveDateTrigger, Sequence[DueTimer]]]:
    found: dict[UUID, list[DueTimer]] = defaultdict(list)
    for timer in due:
        found[timer.timer_key].append(timer)
    return [(plan.dates[timer_key], due_timers) for timer_key, due_timers in found.items()]


def _enroll_due(
    batch: EffectBatch,
    date_trigger: ActiveDateTrigger,
    due_timers: Sequence[DueTimer],
    people: dict[UUID, Recipient],
    zone: str,
) -> None:
    """Enroll contacts whose date has not changed since it was scheduled; schedule their next timer."""
    unchanged = [
        timer
        for timer in due_timers
        if (person := people.get(timer.contact_id)) is not None
        and person.id == timer.contact_id
        and _occurrence(date_trigger, person, zone, timer.due_at - _TICK) == timer.due_at
    ]
    candidates = [
        Candidate(
            contact_id=timer.contact_id,
            source=f"date:{date_trigger.timer_key}:{timer.due_at:%Y-%m-%d}",
            occurred_at=timer.due_at,
            refusal=Reason.TOO_LATE if batch.now - timer.due_at > MAX_DELAY else None,
            value=f"date:{date_trigger.timer_key}:{timer.due_at:%Y-%m-%d}",
        )
        for timer in unchanged
    ]
    enroll(batch.workspace_id, [date_trigger.active_campaign], candidates, batch.now, holds_lanes=True)
    latest = {timer.contact_id: max(timer.due_at, batch.now - MAX_DELAY) for timer in due_timers}
    for contact_id, after in latest.items():
        _schedule_next(batch.workspace_id, [date_trigger], people, [contact_id], zone, after)


def _schedule_next(
    workspace_id: UUID,
    date_triggers: Sequence[ActiveDateTrigger],
    people: dict[UUID, Recipient],
    contact_ids: Collection[UUID],
    zone: str,
    after: datetime,
) -> None:
    schedule_timers(
        workspace_id,
        [
            (date_trigger.timer_key, person.id, moment)
            for contact_id in contact_ids
            if (person := people.get(contact_id)) is not None and person.id == contact_id
            for date_trigger in date_triggers
            if (moment := _occurrence(date_trigger, person, zone, after)) is not None
        ],
    )


def _occurrence(
    date_trigger: ActiveDateTrigger, person: Recipient, zone: str, after: datetime
) -> datetime | None:
    value = person.state.attributes.get(date_trigger.trigger.attribute)
    return occurrence_after(value, date_trigger.trigger, person.time_zone(zone), after)


_WITH_ATTRIBUTES: Final = (
    "SELECT id FROM contacts_contact"
    " WHERE workspace_id = %s AND id = ANY(%s) AND merged_into_id IS NULL AND attributes ?| %s::text[]"
)
DATES: Final = LaneBackfill("campaigns.journeys.date_triggers.DATES", _schedule_batch)
"""Versions whose date timers are scheduled for all contacts."""
