"""Count campaigns' enrollments and messages: old rows once, into stored counters; recent ones on each read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from django.db.models import F, Q

from campaigns.models import Campaign
from campaigns.schedule import COUNTER_DELAY
from config import clock
from config.db.statements import execute, fetch_all
from config.ids import NO_ID, first_id_at

_MAX_CAMPAIGNS: Final = 200
_COUNT: Final = """
(SELECT count(*) FROM {table} r WHERE r.workspace_id = %s AND r.campaign_id = {campaign}
    AND r.id >= {since} AND r.id < {until} AND NOT r.is_test)
"""


def campaign_counts(workspace_id: UUID, campaigns: Sequence[Campaign]) -> dict[UUID, tuple[int, int]]:
    """Return (enrollments, messages) by campaign id, trials excluded.

    One statement for any number of campaigns. Rows in the stored counters stay counted when their contact is erased.
    """
    if not campaigns:
        return {}
    enrollments, messages = (
        _COUNT.format(table=table, campaign="w.id", since="w.since", until="%s")
        for table in ("campaigns_enrollment", "campaigns_message")
    )
    bounds = [workspace_id, _END]
    rows = fetch_all(
        f"SELECT w.id, {enrollments}, {messages} FROM unnest(%s::uuid[], %s::uuid[]) AS w (id, since)",
        [
            *bounds,
            *bounds,
            [campaign.id for campaign in campaigns],
            [_since(campaign) for campaign in campaigns],
        ],
    )
    recent = {campaign_id: (enrollments, messages) for campaign_id, enrollments, messages in rows}
    return {
        campaign.id: (
            campaign.counted_enrollments + recent[campaign.id][0],
            campaign.counted_messages + recent[campaign.id][1],
        )
        for campaign in campaigns
    }


def update_campaign_counters() -> int:
    """Add rows older than COUNTER_DELAY to the stored counters. Returns how many campaigns were updated.

    Safe to run concurrently: the update is conditional on the `counted_until` that was read.
    """
    until = clock.now() - COUNTER_DELAY
    stale = Campaign.objects.exclude(active_version=None).filter(
        Q(counted_until=None) | Q(counted_until__lt=until - COUNTER_DELAY)
    )
    return sum(
        _update_counters(campaign)
        for campaign in stale.order_by(F("counted_until").asc(nulls_first=True))[:_MAX_CAMPAIGNS]
    )


def _update_counters(campaign: Campaign) -> int:
    until = clock.now() - COUNTER_DELAY
    enrollments, messages = (
        _COUNT.format(table=table, campaign="%s", since="%s", until="%s")
        for table in ("campaigns_enrollment", "campaigns_message")
    )
    bounds = [campaign.workspace_id, campaign.id, _since(campaign), first_id_at(until)]
    return execute(
        f"UPDATE campaigns_campaign SET counted_enrollments = counted_enrollments + {enrollments},"
        f" counted_messages = counted_messages + {messages}, counted_until = %s"
        " WHERE workspace_id = %s AND id = %s AND counted_until IS NOT DISTINCT FROM %s",
        [*bounds, *bounds, until, campaign.workspace_id, campaign.id, campaign.counted_until],
    )


def _since(campaign: Campaign) -> UUID:
    return NO_ID if campaign.counted_until is None else first_id_at(campaign.counted_until)


_END: Final = UUID(int=2**128 - 1)
