"""Timers that remove deleted contacts from segments, or evaluate contacts again that no event has changed."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from django.db import transaction

from config import clock
from config.db.statements import execute
from contacts.identity.lookup import find
from events.models import EffectsLevel
from events.processing.timers import cancel_timers, schedule_timers
from events.rules.nodes import CompanyLeaf
from events.stream.derived_events import record_derived_events
from segments.models import MembershipPeriod, Segment
from segments.plans import plan_of
from segments.publication import MembershipChange, derived_event_of, publish_changes

REMOVED_CONTACT_TIMER_KEY = UUID("90e00000-0000-4000-8000-000000000000")
"""The timer key of the last look at a contact that was deleted."""


@transaction.atomic
def schedule_membership_removal(workspace_id: UUID, contact_ids: Collection[UUID], *, now: datetime) -> int:
    """Remove deleted contacts from every segment, now and again by a timer. Returns the segments.

    A concurrent evaluation does not see the deletion and is not waited for; the timer removes what it has written.
    """
    left = remove_all_memberships(workspace_id, contact_ids, now=now)
    schedule_timers(
        workspace_id, [(REMOVED_CONTACT_TIMER_KEY, contact_id, now) for contact_id in contact_ids]
    )
    return left


@transaction.atomic
def remove_all_memberships(workspace_id: UUID, contact_ids: Collection[UUID], *, now: datetime) -> int:
    """Remove contacts that are never evaluated again from every segment. Returns the segments.

    The stream records it, with no further effects.
    """
    execute(
        "DELETE FROM segments_membership WHERE workspace_id = %s AND contact_id = ANY(%s)",
        [workspace_id, list(contact_ids)],
    )
    open_periods = MembershipPeriod.objects.in_workspace(workspace_id).filter(
        contact_id__in=contact_ids, left_at=None
    )
    periods = list(open_periods.values_list("segment_id", "contact_id"))
    news = publish_changes(
        workspace_id,
        [MembershipChange(segment_id, contact_id, False, now) for segment_id, contact_id in periods],
    )
    segments = Segment.objects.in_workspace(workspace_id).filter(id__in=[move.segment_id for move in news])
    names = dict(segments.values_list("id", "name"))
    events = [
        derived_event_of(change, names.get(change.segment_id, ""), level=EffectsLevel.NONE) for change in news
    ]
    record_derived_events(workspace_id, events, now=now)
    cancel_timers(workspace_id, contacts=list(contact_ids))
    return len(news)


@transaction.atomic
def schedule_evaluation(workspace_id: UUID, contact_ids: Collection[UUID]) -> int:
    """Set timers to evaluate contacts by the rules on companies at once. Returns how many."""
    versions = [
        version
        for version, rule_version in plan_of(workspace_id).rule_versions.items()
        if any(isinstance(leaf, CompanyLeaf) for leaf in rule_version.rule.root.leaves())
    ]
    if not versions:
        return 0
    now = clock.now()
    survivors = set(find(workspace_id, contact_ids).by_id.values())
    schedule_timers(
        workspace_id, [(version, survivor, now) for version in versions for survivor in survivors]
    )
    return len(versions) * len(survivors)
