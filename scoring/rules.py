"""Create, edit, delete and re-score scoring rules, so that no event falls between an old and a new version."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, Min

from config import clock
from events.errors import InvalidCondition
from events.models import Event, ParkedEffect
from events.processing.lane_backfills import begin_lanes
from events.processing.passes import bump_rules_version
from events.rules import find_rule_warnings, parse_rule
from events.rules.nodes import Rule
from events.rules.parser import declared_types, validate_segments
from events.stream.outbox import LANE_COUNT
from events.versioned_cache import VersionedEventNames
from scoring.errors import InvalidScoringRule, ScoringRuleNotFound
from scoring.models import LONGEST_DECAY_DAYS, ScoringRule

RESCORES: Final = "scoring.rescoring.RESCORES"
"""The LaneBackfill of rules that are re-scored; a rule is a subject."""
EFFECT = "scoring.effects.apply_scoring_rules"
# What decides which events earn how much: the choice, from now on or for all history, is about these.
_EARNING = ("event_name", "condition", "points", "active")
# How what was earned adds up, calculated from the whole ledger: a change of these is for all of it.
_FOLDING = ("decay_points", "decay_days", "max_score", "min_score", "limit_count", "limit_period")
_EDITABLE = ("name", "description", *_EARNING, *_FOLDING, "updated_at")
_RESCORING = (
    "effective_from",
    "rescore_started_at",
    "rescore_lanes_done",
    "rescore_reevaluates",
    "rescored_at",
)


def _names_of_rules(workspace_id: UUID) -> Iterable[str]:
    return (
        ScoringRule.objects.in_workspace(workspace_id)
        .filter(active=True)
        .values_list("event_name", flat=True)
    )


scored_names: Final = VersionedEventNames(_names_of_rules)


def parked_key_of(rule_id: UUID) -> str:
    """Return the key of a rule's parked events."""
    return f"rule:{rule_id}"


@transaction.atomic
def save_rule(rule: ScoringRule, *, rescore: bool = False, **values: Any) -> ScoringRule:
    """Set values on a rule, new or not, and save it.

    With `rescore` it holds for all history; otherwise events received before keep what they earned. Limit, decay
    and bounds always apply to the whole ledger. Workers do the rest, lane by lane. While they evaluate all history,
    every edit is for all history, because it is not known yet what the old rule gave.

    Waits for effects that run under the old rule. Raises InvalidCondition, InvalidScoringRule or
    ScoringRuleNotFound.
    """
    for name, value in values.items():
        setattr(rule, name, value)
    # Edits of one workspace's rules wait for one another here, so what stands now stands until the commit.
    bump_rules_version(rule.workspace_id)
    validate_rule(rule)
    now = rule.updated_at = clock.now()
    if rule._state.adding:
        rule.created_at = rule.effective_from = now
        if rescore:
            _begin_rescore(rule, now, reevaluates=True)
        rule.save(force_insert=True)
        return rule
    standing = _standing(rule)
    for name in _RESCORING:
        setattr(rule, name, getattr(standing, name))
    is_reevaluating = standing.is_rescoring and standing.rescore_reevaluates
    is_other_rule = _differs(rule, standing, _EARNING)
    if rescore or (is_other_rule and is_reevaluating):
        _begin_rescore(rule, now, reevaluates=True)
    else:
        if is_other_rule:
            rule.effective_from = _unevaluated_since(rule) or now
        if _differs(rule, standing, _FOLDING):
            _begin_rescore(rule, now, reevaluates=is_reevaluating)
    rule.save(update_fields=[*_EDITABLE, *_RESCORING])
    return rule


@transaction.atomic
def rescore_rule(rule: ScoringRule) -> ScoringRule:
    """Evaluate all history by the rule, in the background. Raises ScoringRuleNotFound."""
    bump_rules_version(rule.workspace_id)
    standing = _standing(rule)
    _begin_rescore(standing, clock.now(), reevaluates=True)
    standing.save(update_fields=_RESCORING)
    return standing


@transaction.atomic
def delete_rule(rule: ScoringRule) -> None:
    """Delete a rule. Its points stay in ledger and scores, and decay as before."""
    bump_rules_version(rule.workspace_id)
    ScoringRule.objects.in_workspace(rule.workspace_id).filter(id=rule.id).update(deleted_at=clock.now())


def finish_lane(rule: ScoringRule, lane: int, now: datetime) -> bool:
    """Mark a lane as re-scored, unless the rule was edited meanwhile. Returns whether it was the last one."""
    rows = ScoringRule.with_deleted.filter(id=rule.id, rescore_started_at=rule.rescore_started_at)
    rows.update(rescore_lanes_done=F("rescore_lanes_done").bitor(1 << lane))
    return bool(
        rows.filter(rescore_lanes_done=(1 << LANE_COUNT) - 1, rescored_at=None).update(rescored_at=now)
    )


def validate_rule(rule: ScoringRule) -> Rule:
    """Parse the rule's condition and check its values. Raises InvalidCondition or InvalidScoringRule."""
    if (rule.decay_points is None) != (rule.decay_days is None):
        raise InvalidScoringRule("decay_days", "Decay needs both points and days.")
    if rule.decay_days is not None and not 1 <= rule.decay_days <= LONGEST_DECAY_DAYS:
        raise InvalidScoringRule("decay_days", f"Must be from 1 to {LONGEST_DECAY_DAYS}.")
    if rule.decay_points is not None and rule.decay_points < 0:
        raise InvalidScoringRule("decay_points", "Must not be negative.")
    if rule.min_score is not None and rule.max_score is not None and rule.min_score > rule.max_score:
        raise InvalidScoringRule("max_score", "The cap must not be below the floor.")
    if rule.limit_count == 0:
        raise InvalidScoringRule("limit_count", "Must be at least 1.")
    tree = parse_rule(rule.condition, about_event=rule.event_name, types=declared_types(rule.workspace_id))
    validate_segments(rule.workspace_id, tree, rule.condition)
    return tree


def rule_warnings(rule: ScoringRule) -> list[str]:
    """Return a sentence for each name or value in the rule that was never seen, or is of another kind."""
    try:
        tree = parse_rule(rule.condition, about_event=rule.event_name)
    except InvalidCondition as error:
        return [f"This rule cannot be read any more: {error.sentence}"]
    return find_rule_warnings(rule.workspace_id, tree, about=rule.event_name)


def _standing(rule: ScoringRule) -> ScoringRule:
    standing = (
        ScoringRule.objects.in_workspace(rule.workspace_id).filter(id=rule.id).select_for_update().first()
    )
    if standing is None:
        raise ScoringRuleNotFound
    return standing


def _differs(rule: ScoringRule, standing: ScoringRule, names: tuple[str, ...]) -> bool:
    return any(getattr(rule, name) != getattr(standing, name) for name in names)


def _begin_rescore(rule: ScoringRule, now: datetime, *, reevaluates: bool) -> None:
    rule.rescore_started_at = now
    rule.rescore_lanes_done = 0
    rule.rescored_at = None
    rule.rescore_reevaluates = reevaluates
    if reevaluates:
        rule.effective_from = None
    begin_lanes(RESCORES, rule.workspace_id, rule.id)


def _unevaluated_since(rule: ScoringRule) -> datetime | None:
    """Return when the first event waiting for a failed rule was received; no later one has been evaluated."""
    parked = (
        ParkedEffect.objects.in_workspace(rule.workspace_id)
        .filter(effect=EFFECT, subject=parked_key_of(rule.id))
        .values_list("event_ids", flat=True)
    )
    event_ids = [event_id for ids in parked for event_id in ids]
    events = Event.objects.by_ids(rule.workspace_id, event_ids)
    earliest: datetime | None = events.aggregate(first=Min("received_at"))["first"]
    return earliest
