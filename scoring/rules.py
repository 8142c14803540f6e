"""Create, edit, delete and re-score scoring rules, so that no event falls between an old and a new version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime
from functools import cached_property
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, Min

from config import clock
from config.db.bulk import insert_rows, update_rows
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


class ScoringRuleEdits:
    """New and changed rules of a workspace, checked one by one and written together, in one transaction.

    It waits for effects that run under the old rules, and locks the rules that are to be changed.
    """

    def __init__(self, workspace_id: UUID, rule_ids: Collection[UUID] = ()) -> None:
        self.workspace_id = workspace_id
        # Edits of one workspace's rules wait for one another here, so what stands now stands until the commit.
        bump_rules_version(workspace_id)
        self._standing = _standing(workspace_id, rule_ids)
        self._created: list[ScoringRule] = []
        self._changed: list[ScoringRule] = []
        self._rescored: list[UUID] = []

    def save(self, rule: ScoringRule, *, rescore: bool = False, **values: Any) -> ScoringRule:
        """Set values on a rule, as `save_rule` does."""
        for name, value in values.items():
            setattr(rule, name, value)
        validate_rule(rule)
        now = rule.updated_at = clock.now()
        if rule._state.adding:
            rule.created_at = rule.effective_from = now
            if rescore:
                self._rescore(rule, now, reevaluates=True)
            self._created.append(rule)
            return rule
        standing = self._standing.get(rule.id)
        if standing is None:
            raise ScoringRuleNotFound
        for name in _RESCORING:
            setattr(rule, name, getattr(standing, name))
        is_reevaluating = standing.is_rescoring and standing.rescore_reevaluates
        is_other_rule = _differs(rule, standing, _EARNING)
        if rescore or (is_other_rule and is_reevaluating):
            self._rescore(rule, now, reevaluates=True)
        else:
            if is_other_rule:
                parked = self._parked.get(rule.id, ())
                rule.effective_from = _first_received(self.workspace_id, parked) or now
            if _differs(rule, standing, _FOLDING):
                self._rescore(rule, now, reevaluates=is_reevaluating)
        self._changed.append(rule)
        return rule

    def rescore(self, rule: ScoringRule) -> ScoringRule:
        """Evaluate all history by one of the locked rules, as `rescore_rule` does."""
        standing = self._standing.get(rule.id)
        if standing is None:
            raise ScoringRuleNotFound
        self._rescore(standing, clock.now(), reevaluates=True)
        self._changed.append(standing)
        return standing

    @cached_property
    def _parked(self) -> dict[UUID, list[UUID]]:
        return _parked_events(self.workspace_id, self._standing)

    def write(self) -> None:
        """Write what was created and changed, and start what is to be re-scored."""
        insert_rows(self._created)
        standing = ScoringRule.objects.in_workspace(self.workspace_id)
        update_rows(standing, self._changed, [*_EDITABLE, *_RESCORING])
        if self._rescored:
            begin_lanes(RESCORES, self.workspace_id, *self._rescored)

    def _rescore(self, rule: ScoringRule, now: datetime, *, reevaluates: bool) -> None:
        rule.rescore_started_at = now
        rule.rescore_lanes_done = 0
        rule.rescored_at = None
        rule.rescore_reevaluates = reevaluates
        if reevaluates:
            rule.effective_from = None
        self._rescored.append(rule.id)


@transaction.atomic
def save_rule(rule: ScoringRule, *, rescore: bool = False, **values: Any) -> ScoringRule:
    """Set values on a rule, new or not, and save it.

    With `rescore` it holds for all history; otherwise events received before keep what they earned. Limit, decay
    and bounds always apply to the whole ledger. Workers do the rest, lane by lane. While they evaluate all history,
    every edit is for all history, because it is not known yet what the old rule gave.

    Waits for effects that run under the old rule. Raises InvalidCondition, InvalidScoringRule or
    ScoringRuleNotFound.
    """
    edits = ScoringRuleEdits(rule.workspace_id, [] if rule._state.adding else [rule.id])
    edits.save(rule, rescore=rescore, **values)
    edits.write()
    return rule


@transaction.atomic
def rescore_rule(rule: ScoringRule) -> ScoringRule:
    """Evaluate all history by the rule, in the background. Raises ScoringRuleNotFound."""
    edits = ScoringRuleEdits(rule.workspace_id, [rule.id])
    rescored = edits.rescore(rule)
    edits.write()
    return rescored


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
        return [error.of_stored]
    return find_rule_warnings(rule.workspace_id, tree, about=rule.event_name)


def _standing(workspace_id: UUID, rule_ids: Collection[UUID]) -> dict[UUID, ScoringRule]:
    """Lock rules. Returns them by id."""
    if not rule_ids:
        return {}
    rules = ScoringRule.objects.in_workspace(workspace_id).filter(id__in=rule_ids).select_for_update()
    return {rule.id: rule for rule in rules.order_by("id")}


def _differs(rule: ScoringRule, standing: ScoringRule, names: tuple[str, ...]) -> bool:
    return any(getattr(rule, name) != getattr(standing, name) for name in names)


def _parked_events(workspace_id: UUID, rule_ids: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """Return the ids of the events that wait for failed rules, by rule."""
    rules = {parked_key_of(rule_id): rule_id for rule_id in rule_ids}
    parked = ParkedEffect.objects.in_workspace(workspace_id).filter(effect=EFFECT, subject__in=rules)
    found: dict[UUID, list[UUID]] = defaultdict(list)
    for key, event_ids in parked.values_list("subject", "event_ids"):
        found[rules[key]] += event_ids
    return found


def _first_received(workspace_id: UUID, event_ids: Collection[UUID]) -> datetime | None:
    """Return when the first of the events that wait for a rule was received; no later one has been evaluated."""
    events = Event.objects.by_ids(workspace_id, event_ids)
    earliest: datetime | None = events.aggregate(first=Min("received_at"))["first"]
    return earliest
