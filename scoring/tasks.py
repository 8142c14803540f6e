"""Background work on scores: each task calls one service and returns a word."""

from uuid import UUID

from celery import shared_task

from config import clock
from events.stream.outbox import LANE_COUNT
from scoring import rescoring
from scoring.models import ScoringRule
from scoring.schedule import SILENCE

TURN_SECONDS = 5.0
"""How long a lane may keep a worker before other tasks have their turn."""


@shared_task
def rescore_rule(workspace_id: str, rule_id: str) -> str:
    """Send a task for each lane that is not re-scored yet."""
    rule = ScoringRule.with_deleted.in_workspace(UUID(workspace_id)).filter(id=UUID(rule_id)).first()
    if rule is None or not rule.is_rescoring:
        return "nothing"
    for lane in range(LANE_COUNT):
        if not rule.rescore_lanes_done >> lane & 1:
            rescore_rule_lane.apply_async(args=(workspace_id, rule_id, lane), retry=False)
    return "done"


@shared_task
def rescore_rule_lane(workspace_id: str, rule_id: str, lane: int, after: str = "") -> str:
    """Re-score a lane's contacts after `after`; with more left, queue up again."""
    turn = rescoring.rescore_lane(
        UUID(workspace_id),
        UUID(rule_id),
        lane,
        after=UUID(after) if after else UUID(int=0),
        at_most_seconds=TURN_SECONDS,
    )
    if turn.after is None:
        return "done"
    rescore_rule_lane.apply_async(args=(workspace_id, rule_id, lane, str(turn.after)), retry=False)
    return "more"


@shared_task
def sweep_rescores() -> str:
    """Take up re-scorings without progress: a message was lost, or a worker killed."""
    silent = ScoringRule.with_deleted.all().rescoring().filter(rescore_seen_at__lt=clock.now() - SILENCE)
    found = list(silent.values_list("workspace_id", "id"))
    for workspace_id, rule_id in found:
        rescore_rule.apply_async(args=(str(workspace_id), str(rule_id)), retry=False)
    # Until they are heard of, they are not to be taken up every time.
    silent.update(rescore_seen_at=clock.now())
    return "done" if found else "nothing"
