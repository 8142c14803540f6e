"""Segments' effect, called by `events.processing.passes`: move contacts into and out of segments.

What moves them is new events, scores and due timers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

from events.models import EffectsLevel
from events.processing.bisection import bisect_failures
from events.processing.passes import DueTimer, EffectBatch, EffectEvent, runs_only_when
from events.processing.timers import schedule_timers
from events.rules import AggregateSpec
from events.stream.derived_events import record_derived_events
from segments.catch_up import CatchUp, Pairs, collect_catch_up
from segments.causes import CauseResolver, Causes
from segments.evaluation import (
    MergedIds,
    Transition,
    batch_groups,
    canonical,
    merged_ids,
    postpone,
    remove_memberships,
    statement_of,
)
from segments.invalidation import Affected, find_affected, may_invalidate
from segments.models import Segment
from segments.plans import InvalidationKind, Plan, RuleVersion, RuleVersionGroup, cached_plan, plan_of
from segments.publication import derived_event_of, publish_changes
from segments.removal import REMOVED_CONTACT_TIMER_KEY, remove_all_memberships
from segments.rule_failures import record_rule_failure

_ROUNDS = 50
"""Past moments evaluated in one run for a contact and a rule; the rest waits for the next."""


def _may_invalidate(batch: EffectBatch) -> bool:
    plan = cached_plan(batch.workspace_id, batch.rules_version)
    return plan is None or may_invalidate(batch, plan)


@runs_only_when(_may_invalidate)
def reevaluate_segments(batch: EffectBatch) -> None:
    """Evaluate the affected contacts by the affected rules, and publish what changed."""
    if gone := [timer.contact_id for timer in batch.due if timer.timer_key == REMOVED_CONTACT_TIMER_KEY]:
        remove_all_memberships(batch.workspace_id, gone, now=batch.now)
    plan = plan_of(batch.workspace_id)
    for rule_version, error in plan.unreadable:
        record_rule_failure(batch.workspace_id, rule_version, error, batch.now)
    if plan.rule_versions:
        _EffectRun(batch, plan).run()


@dataclass(slots=True)
class _EffectRun:
    """Evaluates one batch by all rules. A failed statement leaves no trace: its savepoint is rolled back."""

    batch: EffectBatch
    plan: Plan
    # Of the contacts: those that are in no segment any more, and those that others were merged into.
    gone: set[UUID] = field(default_factory=set)
    merged: MergedIds = field(default_factory=dict)
    # What changed, in the order in which it is published: in one wave, a contact moves once in a segment.
    waves: list[list[Transition]] = field(default_factory=lambda: [[]])
    # Contacts that came into segments that others build on, or left them, in this run.
    changed_members: dict[UUID, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    parked: set[UUID] = field(default_factory=set)
    past: CatchUp = field(init=False)

    def run(self) -> None:
        affected = find_affected(self.batch, self.plan, self._park_rules_of)
        due = [timer for timer in self.batch.due if timer.timer_key in self.plan.rule_versions]
        if not due and affected.is_nobody:
            return
        self._load_contacts(affected.by_kind[InvalidationKind.SCORE] | {timer.contact_id for timer in due})
        self.past = collect_catch_up(self.batch, self.plan, affected)
        left = self._decide_past()
        self._decide_round(_as_of_now(due, left, self.batch.now))
        self.waves.append([])
        for level, everything in enumerate(self.plan.everything):
            self._evaluate_affected(level, affected)
            self._evaluate_now([(group, affected.everywhere) for group in everything])
        self._publish()

    def _load_contacts(self, unknown: set[UUID]) -> None:
        """Look up the contacts, and remove memberships of deleted and merged ones."""
        # The runner has looked up those of its events.
        known = {event.contact_id for event in self.batch.events}
        found = canonical(self.batch.workspace_id, unknown - known)
        self.merged = merged_ids(self.batch.workspace_id, known | found)
        self.gone = unknown - known - found
        self.gone.update(
            UUID(merged_id) for ids in self.merged.values() for merged_id in ids[1:-1].split(",")[1:]
        )
        if self.gone:
            self._note(
                remove_memberships(
                    self.batch.workspace_id, self.gone, self.plan.rule_versions, self.batch.now
                )
            )

    def _decide_past(self) -> Pairs:
        """Evaluate each pair as of its past moments, in order. Returns the pairs left for another run.

        Afterwards all are evaluated as of now: events after a moment may have been evaluated before it.
        """
        pairs = self.past.take_next({})
        for _ in range(_ROUNDS):
            if not pairs:
                return {}
            pairs = self.past.take_next(self._decide_round(pairs))
        # Still due, at moments that have passed: the next run goes on there.
        left = [
            (version, contact_id, at)
            for version, moments in pairs.items()
            for contact_id, at in moments.items()
        ]
        schedule_timers(self.batch.workspace_id, left)
        return pairs

    def _decide_round(self, pairs: Pairs) -> Pairs:
        """Evaluate pairs as of their moments, lower segments first. Returns pairs to evaluate again."""
        self.waves.append([])
        pairs = defaultdict(dict, pairs)
        again: Pairs = defaultdict(dict)
        for level in range(len(self.plan.levels)):
            for version in sorted(key for key in pairs if self.plan.level_of[key] == level):
                self._decide(self.plan.rule_versions[version], pairs, again)
        return again

    def _decide(self, rule_version: RuleVersion, pairs: Pairs, again: Pairs) -> None:
        """Evaluate the pairs of one rule, then what they change by dependent rules, as of the same moment."""
        noted = len(self.waves[-1])
        moments = pairs[rule_version.version]
        scores = self.past.scores_at(rule_version, moments)
        evaluate = partial(self._evaluate, contact_ids=moments, moments=moments, scores=scores, again=again)
        bisect_failures([rule_version], evaluate, self._park)
        if rule_version.is_serving:
            for dependent in self.plan.dependents.get(rule_version.segment_id, ()):
                for transition in self.waves[-1][noted:]:
                    self.past.add_to(pairs, dependent.version, transition.contact_id, transition.at)

    def _evaluate_affected(self, level: int, affected: Affected) -> None:
        """Evaluate the affected contacts of a level as of now; rules of one shape by one statement."""
        groups = self.plan.levels[level]
        work = {
            place: affected.of(group, self.changed_members) - self.gone for place, group in enumerate(groups)
        }

        def evaluate_batch() -> list[Transition]:
            workspace_id, now = self.batch.workspace_id, self.batch.now
            return [
                transition
                for batches in batch_groups(workspace_id, self.plan, level)
                for transition in batches.execute(workspace_id, work, self.merged, now)
            ]

        by_group = [(groups[place], contact_ids) for place, contact_ids in work.items() if contact_ids]
        # A rule that was parked in this run is not to be evaluated along with the others.
        self._evaluate_now(by_group, None if self.parked else evaluate_batch)

    def _evaluate_now(
        self,
        work: Sequence[tuple[RuleVersionGroup, Collection[UUID]]],
        evaluate: Callable[[], list[Transition]] | None = None,
    ) -> None:
        """Evaluate contacts as of now, all rules in one savepoint; if that fails, rule by rule."""

        def evaluate_all(_: object) -> None:
            self._note(
                evaluate()
                if evaluate
                else [transition for each in work for transition in self._of_group(*each)]
            )

        def evaluate_individually(_: object, error: Exception) -> None:
            for group, contact_ids in work:
                for rule_version in group.rule_versions:
                    bisect_failures(
                        [rule_version], partial(self._evaluate, contact_ids=contact_ids), self._park
                    )

        if any(contact_ids for _, contact_ids in work):
            bisect_failures([work], evaluate_all, evaluate_individually)

    def _of_group(self, group: RuleVersionGroup, contact_ids: Collection[UUID]) -> list[Transition]:
        return self._transitions(group.rule_versions, contact_ids)

    def _evaluate(
        self,
        rule_versions: Sequence[RuleVersion],
        contact_ids: Collection[UUID],
        moments: Mapping[UUID, datetime] | None = None,
        scores: Mapping[UUID, Decimal] | None = None,
        again: Pairs | None = None,
    ) -> None:
        self._note(self._transitions(rule_versions, contact_ids, moments, scores, again))

    def _transitions(
        self,
        rule_versions: Sequence[RuleVersion],
        contact_ids: Collection[UUID],
        moments: Mapping[UUID, datetime] | None = None,
        scores: Mapping[UUID, Decimal] | None = None,
        again: Pairs | None = None,
    ) -> list[Transition]:
        if self.parked:
            rule_versions = [
                rule_version for rule_version in rule_versions if rule_version.version not in self.parked
            ]
        if self.gone:
            contact_ids = [contact_id for contact_id in contact_ids if contact_id not in self.gone]
        if not rule_versions or not contact_ids:
            return []
        evaluated = statement_of(self.batch.workspace_id, self.plan, rule_versions).execute(
            self.batch.workspace_id, contact_ids, self.merged, self.batch.now, moments, scores
        )
        if again is not None:
            for rule_version, contact_id, at in evaluated.again:
                again[rule_version.version][contact_id] = at
        return evaluated.transitions

    def _note(self, transitions: Sequence[Transition]) -> None:
        self.waves[-1] += [transition for transition in transitions if transition.rule_version.is_serving]
        if self.plan.dependents:
            for transition in transitions:
                if (
                    transition.rule_version.is_serving
                    and transition.rule_version.segment_id in self.plan.dependents
                ):
                    self.changed_members[transition.rule_version.segment_id].add(transition.contact_id)

    def _park(self, rule_version: RuleVersion, error: Exception) -> None:
        self.parked.add(rule_version.version)
        record_rule_failure(self.batch.workspace_id, rule_version, error, self.batch.now)

    def _park_rules_of(self, spec: AggregateSpec, error: Exception) -> None:
        for rule_version in self.plan.rule_versions.values():
            if spec in rule_version.triggers:
                self._park(rule_version, error)

    def _publish(self) -> None:
        """Open and close membership periods, and record segment events, each with its cause."""
        if not any(self.waves):
            return
        finder = CauseResolver(self.batch, self.plan, self.merged, self.gone, self.past)
        finder.look_up([move for wave in self.waves for move in wave])
        news: list[tuple[Transition, EffectEvent | None]] = []
        for wave in self.waves:
            causes = finder.resolve_causes(wave)
            moves = self._after_their_causes(wave, causes)
            published = publish_changes(self.batch.workspace_id, moves)
            news += [(move, causes[move.rule_version.version, move.contact_id]) for move in published]
        if not news:
            return
        rule_versions = {id(move.rule_version): move.rule_version for move, _ in news}
        segment_ids = {rule_version.segment_id for rule_version in rule_versions.values()}
        segments = Segment.objects.in_workspace(self.batch.workspace_id).filter(id__in=segment_ids)
        titles = dict(segments.values_list("id", "name"))
        # By identity: what is looked up for each move is looked up fast.
        title_of = {
            key: titles.get(rule_version.segment_id, "") for key, rule_version in rule_versions.items()
        }
        derived_events = []
        for move, cause in news:
            # Who was merged into another, or is gone, has done nothing: no campaign follows.
            stands = move.contact_id not in self.gone
            level = EffectsLevel.ALL if stands else EffectsLevel.SCORES_AND_SEGMENTS
            derived_events.append(
                derived_event_of(move, title_of[id(move.rule_version)], cause=cause, level=level)
            )
        record_derived_events(self.batch.workspace_id, derived_events, now=self.batch.now)

    def _after_their_causes(self, wave: Sequence[Transition], causes: Causes) -> Sequence[Transition]:
        """Return the changes, none dated before its cause was received: an event may come during the evaluation."""
        moves, postponed = [], []
        for move in wave:
            cause = causes[move.rule_version.version, move.contact_id]
            if cause is not None and cause.received_at is not None and cause.received_at > move.at:
                move = replace(move, at=cause.received_at)
                postponed.append(move)
            moves.append(move)
        postpone(self.batch.workspace_id, [move for move in postponed if move.is_in])
        return moves


def _as_of_now(due: Sequence[DueTimer], left: Pairs, now: datetime) -> Pairs:
    pairs: Pairs = defaultdict(dict)
    for timer in due:
        if timer.contact_id not in left.get(timer.timer_key, ()):
            pairs[timer.timer_key][timer.contact_id] = now
    return pairs
