"""The second wheel: events, scores and time bring contacts into segments and out of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from uuid import UUID

from events.models import EffectsLevel
from events.rules import MeasureSpec
from events.services import (
    DueDecision,
    EffectBatch,
    EffectEvent,
    isolate,
    only_where,
    record_consequences,
    schedule,
)
from segments.models import Segment
from segments.services.causes import CauseFinder, Causes
from segments.services.downtime import Pairs, PastMoments, past_moments
from segments.services.judging import (
    Others,
    Transition,
    alike_groups,
    dismiss,
    others_of,
    postpone,
    standing,
    statement_of,
)
from segments.services.leaving import GONE_SUBJECT, leave_for_good
from segments.services.parking import set_ruling_aside
from segments.services.plans import Plan, Ruling, RulingGroup, Touch, kept_plan, plan_of
from segments.services.telling import consequence_of, tell
from segments.services.touching import Touched, may_touch, touched_by

_ROUNDS = 50
"""Moments of the past that one run decides for a contact and a rule, one after the other; the rest waits."""


def _may_touch(batch: EffectBatch) -> bool:
    plan = kept_plan(batch.workspace_id, batch.rules_version)
    return plan is None or may_touch(batch, plan)


@only_where(_may_touch)
def reevaluate_segments(batch: EffectBatch) -> None:
    """Judge the contacts that the batch touches, by the rules that it can touch, and tell what changed."""
    if gone := [decision.contact_id for decision in batch.due if decision.subject == GONE_SUBJECT]:
        leave_for_good(batch.workspace_id, gone, now=batch.now)
    plan = plan_of(batch.workspace_id)
    for ruling, error in plan.unreadable:
        set_ruling_aside(batch.workspace_id, ruling, error, batch.now)
    if plan.rulings:
        _Run(batch, plan).run()


@dataclass(slots=True)
class _Run:
    """One batch before all rules. Nothing is noted of a statement that failed: its savepoint is rolled back."""

    batch: EffectBatch
    plan: Plan
    # Of the contacts: those that are in no segment any more, and those that others were merged into.
    gone: set[UUID] = field(default_factory=set)
    others: Others = field(default_factory=dict)
    # What changed, in the order in which it is to be told: in one wave, a contact moves once in a segment.
    waves: list[list[Transition]] = field(default_factory=lambda: [[]])
    # Contacts that came into segments that others build on, or left them, in this run.
    moved: dict[UUID, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    set_aside: set[UUID] = field(default_factory=set)
    past: PastMoments = field(init=False)

    def run(self) -> None:
        touched = touched_by(self.batch, self.plan, self._set_spec_aside)
        due = [one for one in self.batch.due if one.subject in self.plan.rulings]
        if not due and touched.is_nobody:
            return
        self._meet(touched.by_touch[Touch.SCORE] | {decision.contact_id for decision in due})
        self.past = past_moments(self.batch, self.plan, touched)
        left = self._decide_past()
        self._decide_round(_as_of_now(due, left, self.batch.now))
        self.waves.append([])
        for level, everything in enumerate(self.plan.everything):
            self._judge_touched(level, touched)
            self._judge_now([(group, touched.everywhere) for group in everything])
        self._tell()

    def _meet(self, unknown: set[UUID]) -> None:
        """Look up the contacts. Those that stand no more are in no segment, nor are those merged into them."""
        # The runner has looked up those of its events.
        known = {event.contact_id for event in self.batch.events}
        found = standing(self.batch.workspace_id, unknown - known)
        self.others = others_of(self.batch.workspace_id, known | found)
        self.gone = unknown - known - found
        self.gone.update(UUID(one) for ids in self.others.values() for one in ids[1:-1].split(",")[1:])
        if self.gone:
            self._note(dismiss(self.batch.workspace_id, self.gone, self.plan.rulings, self.batch.now))

    def _decide_past(self) -> Pairs:
        """Decide each pair as of its moment, then as of the next that has passed. Returns those left for another run.

        All are judged as of now afterwards, because events after a moment may have been judged before it was its
        turn.
        """
        pairs = self.past.take_next({})
        for _ in range(_ROUNDS):
            if not pairs:
                return {}
            pairs = self.past.take_next(self._decide_round(pairs))
        # Still due, at moments that have passed: the next run goes on there.
        left = [(version, one, at) for version, moments in pairs.items() for one, at in moments.items()]
        schedule(self.batch.workspace_id, left)
        return pairs

    def _decide_round(self, pairs: Pairs) -> Pairs:
        """Judge pairs as of their moments, lower segments first. Returns whom to judge again, and as of when."""
        self.waves.append([])
        pairs = defaultdict(dict, pairs)
        again: Pairs = defaultdict(dict)
        for level in range(len(self.plan.levels)):
            for version in sorted(one for one in pairs if self.plan.level_of[one] == level):
                self._decide(self.plan.rulings[version], pairs, again)
        return again

    def _decide(self, ruling: Ruling, pairs: Pairs, again: Pairs) -> None:
        """Judge the pairs of one rule; who moves is judged by the rules that build on it as of the same moment."""
        noted = len(self.waves[-1])
        moments = pairs[ruling.version]
        judge = partial(self._judge, contact_ids=moments, moments=moments, again=again)
        with self.past.scores(ruling, moments):
            isolate([ruling], judge, self._set_aside)
        if ruling.is_serving:
            for dependent in self.plan.dependents.get(ruling.segment_id, ()):
                for one in self.waves[-1][noted:]:
                    self.past.add_to(pairs, dependent.version, one.contact_id, one.at)

    def _judge_touched(self, level: int, touched: Touched) -> None:
        """Judge the contacts that each group of a level touches, as of now: groups of one shape by one statement."""
        groups = self.plan.levels[level]
        work = {place: touched.of(group, self.moved) - self.gone for place, group in enumerate(groups)}

        def judge_alike() -> list[Transition]:
            workspace_id, now = self.batch.workspace_id, self.batch.now
            return [
                transition
                for alike in alike_groups(workspace_id, self.plan, level)
                for transition in alike.execute(workspace_id, work, self.others, now)
            ]

        by_group = [(groups[place], contact_ids) for place, contact_ids in work.items() if contact_ids]
        # A rule that was set aside in this run is not to be judged along with the others.
        self._judge_now(by_group, None if self.set_aside else judge_alike)

    def _judge_now(
        self,
        work: Sequence[tuple[RulingGroup, Collection[UUID]]],
        judge: Callable[[], list[Transition]] | None = None,
    ) -> None:
        """Judge contacts as of now, all groups in one savepoint; if that fails, rule by rule."""

        def judge_all(_: object) -> None:
            self._note(judge() if judge else [one for each in work for one in self._of_group(*each)])

        def judge_one_by_one(_: object, error: Exception) -> None:
            for group, contact_ids in work:
                for ruling in group.rulings:
                    isolate([ruling], partial(self._judge, contact_ids=contact_ids), self._set_aside)

        if any(contact_ids for _, contact_ids in work):
            isolate([work], judge_all, judge_one_by_one)

    def _of_group(self, group: RulingGroup, contact_ids: Collection[UUID]) -> list[Transition]:
        return self._transitions(group.rulings, contact_ids)

    def _judge(
        self,
        rulings: Sequence[Ruling],
        contact_ids: Collection[UUID],
        moments: Mapping[UUID, datetime] | None = None,
        again: Pairs | None = None,
    ) -> None:
        self._note(self._transitions(rulings, contact_ids, moments, again))

    def _transitions(
        self,
        rulings: Sequence[Ruling],
        contact_ids: Collection[UUID],
        moments: Mapping[UUID, datetime] | None = None,
        again: Pairs | None = None,
    ) -> list[Transition]:
        if self.set_aside:
            rulings = [ruling for ruling in rulings if ruling.version not in self.set_aside]
        if self.gone:
            contact_ids = [contact_id for contact_id in contact_ids if contact_id not in self.gone]
        if not rulings or not contact_ids:
            return []
        judgement = statement_of(self.batch.workspace_id, self.plan, rulings).execute(
            self.batch.workspace_id, contact_ids, self.others, self.batch.now, moments
        )
        if again is not None:
            for ruling, contact_id, at in judgement.again:
                again[ruling.version][contact_id] = at
        return judgement.transitions

    def _note(self, transitions: Sequence[Transition]) -> None:
        self.waves[-1] += [transition for transition in transitions if transition.ruling.is_serving]
        if self.plan.dependents:
            for transition in transitions:
                if transition.ruling.is_serving and transition.ruling.segment_id in self.plan.dependents:
                    self.moved[transition.ruling.segment_id].add(transition.contact_id)

    def _set_aside(self, ruling: Ruling, error: Exception) -> None:
        self.set_aside.add(ruling.version)
        set_ruling_aside(self.batch.workspace_id, ruling, error, self.batch.now)

    def _set_spec_aside(self, spec: MeasureSpec, error: Exception) -> None:
        for ruling in self.plan.rulings.values():
            if spec in ruling.triggers:
                self._set_aside(ruling, error)

    def _tell(self) -> None:
        """Open and close stays, and record what is news, each with its cause."""
        if not any(self.waves):
            return
        finder = CauseFinder(self.batch, self.plan, self.others, self.gone, self.past)
        finder.look_up([move for wave in self.waves for move in wave])
        news: list[tuple[Transition, EffectEvent | None]] = []
        for wave in self.waves:
            causes = finder.causes_of(wave)
            moves = self._after_their_causes(wave, causes)
            told = tell(self.batch.workspace_id, moves)
            news += [(move, causes[move.ruling.version, move.contact_id]) for move in told]
        if not news:
            return
        rulings = {id(move.ruling): move.ruling for move, _ in news}
        segment_ids = {ruling.segment_id for ruling in rulings.values()}
        segments = Segment.objects.in_workspace(self.batch.workspace_id).filter(id__in=segment_ids)
        titles = dict(segments.values_list("id", "name"))
        # By identity: what is looked up for each move is looked up fast.
        title_of = {key: titles.get(ruling.segment_id, "") for key, ruling in rulings.items()}
        consequences = []
        for move, cause in news:
            # Who was merged into another, or is gone, has done nothing: no campaign follows.
            stands = move.contact_id not in self.gone
            level = EffectsLevel.ALL if stands else EffectsLevel.SCORES_AND_SEGMENTS
            consequences.append(consequence_of(move, title_of[id(move.ruling)], cause=cause, level=level))
        record_consequences(self.batch.workspace_id, consequences, now=self.batch.now)

    def _after_their_causes(self, wave: Sequence[Transition], causes: Causes) -> Sequence[Transition]:
        """Return the moves, none before its cause was received: an event may come while contacts are judged."""
        moves, postponed = [], []
        for move in wave:
            cause = causes[move.ruling.version, move.contact_id]
            if cause is not None and cause.received_at is not None and cause.received_at > move.at:
                move = replace(move, at=cause.received_at)
                postponed.append(move)
            moves.append(move)
        postpone(self.batch.workspace_id, [move for move in postponed if move.is_in])
        return moves


def _as_of_now(due: Sequence[DueDecision], left: Pairs, now: datetime) -> Pairs:
    pairs: Pairs = defaultdict(dict)
    for decision in due:
        if decision.contact_id not in left.get(decision.subject, ()):
            pairs[decision.subject][decision.contact_id] = now
    return pairs
