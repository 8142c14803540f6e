"""Retention: what deleted events earned stays, or goes with them."""

from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from config import clock
from events.processing.passes import lock_lanes
from events.processing.timers import schedule_timers
from events.stream.outbox import lane_of
from scoring.models import ScoreEntry, ScoringRule
from scoring.rescoring import recalculate_ledger, sum_up
from scoring.rule_scores import SCORE_TIMER_KEY

_LOCK_SECONDS: Final = 20.0


def delete_points(workspace_id: UUID, event_ids: Sequence[UUID], deletes_points: bool) -> Mapping[str, int]:
    """Delete the entries of events, and calculate the scores of their contacts again, if that is wanted."""
    if not deletes_points:
        return {}
    entries = ScoreEntry.objects.in_workspace(workspace_id).filter(event_id__in=event_ids)
    contact_ids = sorted(set(entries.values_list("contact_id", flat=True)))
    if not contact_ids:
        return {"score entries": 0}
    lock_lanes(
        workspace_id, {lane_of(contact_id) for contact_id in contact_ids}, at_most_seconds=_LOCK_SECONDS
    )
    now = clock.now()
    deleted = entries.delete()[0]
    rules = list(ScoringRule.with_deleted.in_workspace(workspace_id).order_by("id"))
    recalculate_ledger(workspace_id, contact_ids, rules, now)
    changed = sum_up(workspace_id, contact_ids, now)
    schedule_timers(workspace_id, [(SCORE_TIMER_KEY, contact_id, now) for contact_id in changed])
    return {"score entries": deleted}
