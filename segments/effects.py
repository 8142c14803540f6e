"""The second wheel: events, scores and time bring contacts into segments and out of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from uuid import UUID

from events.rules import MeasureSpec
from events.services import (
    EffectBatch,
    EffectEvent,
    isolate,
    record_consequences,
    schedule,
)
from segments.models import Segment
from segments.services.judging import Person, Transition, dismiss, standing, statement_of
from segments.services.parking import set_ruling_aside
from segments.services.plans import Plan, Ruling, RulingGroup, plan_of
from segments.services.telling import Move, consequence_of, tell
from segments.services.touching import touched_by

_ROUNDS = 50
"""Moments of the past that one run decides for a contact and a rule, one after the other; the rest waits."""


def reevaluate_segments(batch: EffectBatch) -> None:
    """Judge the contacts that the batch touches, by the rules that it can touch, and tell what changed."""
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
    people: dict[UUID, Person] = field(default_factory=dict)
    transitions: list[Transition] = field(default_factory=list)
    # Contacts that came into a segment or left it in this run, by the segment.
    moved: dict[UUID, set[UUID]] = field(default_factory=lambda: defaultdict(set))
    set_aside: set[UUID] = field(default_factory=set)

    def run(self) -> None:
        touched = touched_by(self.batch, self.plan, self._set_spec_aside)
        due = [one for one in self.batch.due if one.subject in self.plan.rulings]
        self._meet(touched.contacts | {decision.contact_id for decision in due})
        pairs: _Pairs = defaultdict(dict)
        for decision in due:
            if decision.contact_id in self.people:
                pairs[decision.subject][decision.contact_id] = decision.due_at
        self._decide_due(pairs)
        for groups, everything in zip(self.plan.levels, self.plan.everything, strict=True):
            self._judge_now([(group, touched.of(group, self.moved)) for group in groups])
            self._judge_now([(group, touched.everywhere) for group in everything])
        self._tell()

    def _meet(self, contact_ids: set[UUID]) -> None:
        """Look up the contacts. Those that stand no more are in no segment, nor are those merged into them."""
        self.people = standing(self.batch.workspace_id, contact_ids)
        gone = contact_ids - self.people.keys()
        gone.update(one for person in self.people.values() for one in person.others)
        if gone:
            self._note(dismiss(self.batch.workspace_id, gone, self.plan.rulings, self.batch.now))

    def _decide_due(self, due: _Pairs) -> None:
        """Decide each pair as of its moment, then as of the next that has passed, and at last as of now.

        As of now too, because events after that moment may have been judged before it was its turn.
        """
        pairs, decided = due, {version: set(moments) for version, moments in due.items()}
        for _ in range(_ROUNDS):
            if not pairs:
                break
            pairs = self._decide_round(pairs)
        if pairs:
            # Still due, at moments that have passed: the next run goes on there.
            left = [(version, one, at) for version, moments in pairs.items() for one, at in moments.items()]
            schedule(self.batch.workspace_id, left)
        self._decide_round(
            {
                version: dict.fromkeys(contact_ids - pairs.get(version, {}).keys(), self.batch.now)
                for version, contact_ids in decided.items()
            }
        )

    def _decide_round(self, pairs: _Pairs) -> _Pairs:
        """Judge pairs as of their moments, lower segments first. Returns whom to judge again, and as of when."""
        pairs = defaultdict(dict, pairs)
        again: _Pairs = defaultdict(dict)
        for level in range(len(self.plan.levels)):
            for version in sorted(one for one in pairs if self.plan.level_of[one] == level):
                told = len(self.transitions)
                ruling = self.plan.rulings[version]
                isolate([ruling], partial(self._judge, moments=pairs[version], again=again), self._set_aside)
                for one in self.transitions[told:] if ruling.is_serving else ():
                    for dependent in self.plan.dependents.get(ruling.segment_id, ()):
                        pairs[dependent.version].setdefault(one.contact_id, one.at)
        return again

    def _judge_now(self, work: Sequence[tuple[RulingGroup, set[UUID]]]) -> None:
        """Judge contacts as of now, all groups in one savepoint; if that fails, rule by rule."""

        def judge_all(_: object) -> None:
            found = [
                transition
                for group, contact_ids in work
                for transition in self._transitions(group.rulings, dict.fromkeys(contact_ids, self.batch.now))
            ]
            self._note(found)

        def judge_one_by_one(_: object, error: Exception) -> None:
            for group, contact_ids in work:
                moments = dict.fromkeys(contact_ids, self.batch.now)
                for ruling in group.rulings:
                    isolate([ruling], partial(self._judge, moments=moments), self._set_aside)

        if any(contact_ids for _, contact_ids in work):
            isolate([work], judge_all, judge_one_by_one)

    def _judge(
        self, rulings: Sequence[Ruling], moments: Mapping[UUID, datetime], again: _Pairs | None = None
    ) -> None:
        self._note(self._transitions(rulings, moments, again))

    def _transitions(
        self, rulings: Sequence[Ruling], moments: Mapping[UUID, datetime], again: _Pairs | None = None
    ) -> list[Transition]:
        rulings = [ruling for ruling in rulings if ruling.version not in self.set_aside]
        people = [self.people[contact_id] for contact_id in sorted(moments) if contact_id in self.people]
        if not rulings or not people:
            return []
        judgement = statement_of(self.plan, rulings).execute(
            self.batch.workspace_id,
            people,
            [moments[person.contact_id] for person in people],
            self.batch.now,
        )
        if again is not None:
            for ruling, contact_id, at in judgement.again:
                again[ruling.version][contact_id] = at
        return judgement.transitions

    def _note(self, transitions: Sequence[Transition]) -> None:
        self.transitions += transitions
        for transition in transitions:
            if transition.ruling.is_serving:
                self.moved[transition.ruling.segment_id].add(transition.contact_id)

    def _set_aside(self, ruling: Ruling, error: Exception) -> None:
        self.set_aside.add(ruling.version)
        set_ruling_aside(self.batch.workspace_id, ruling, error, self.batch.now)

    def _set_spec_aside(self, spec: MeasureSpec, error: Exception) -> None:
        for ruling in self.plan.rulings.values():
            if spec in ruling.triggers:
                self._set_aside(ruling, error)

    def _tell(self) -> None:
        """Open and close stays, and record what is news."""
        ruling_of = {one.ruling.segment_id: one.ruling for one in self.transitions if one.ruling.is_serving}
        news = [move for wave in _waves(self.transitions) for move in tell(self.batch.workspace_id, wave)]
        if not news:
            return
        segments = Segment.objects.in_workspace(self.batch.workspace_id).filter(id__in=ruling_of)
        names = dict(segments.values_list("id", "name"))
        events: dict[UUID, list[EffectEvent]] = defaultdict(list)
        for event in self.batch.events:
            events[event.contact_id].append(event)
        record_consequences(
            self.batch.workspace_id,
            [
                consequence_of(move, names, cause=self._cause(move, ruling_of, events[move.contact_id]))
                for move in news
            ],
            now=self.batch.now,
        )

    def _cause(
        self, move: Move, ruling_of: Mapping[UUID, Ruling], events: Sequence[EffectEvent]
    ) -> EffectEvent | None:
        """Return the contact's last event that its rule speaks of, else its last; None: it was time that did it."""
        if not events or move.at < self.batch.now:
            return None
        named = ruling_of[move.segment_id].rule.event_names
        return next((event for event in reversed(events) if event.name in named), events[-1])


_Pairs = dict[UUID, dict[UUID, datetime]]
"""By version: the contacts to be judged, and each as of when."""


def _waves(transitions: Iterable[Transition]) -> list[list[Move]]:
    """Return what is to be told, so that one contact's moves in one segment come one after the other."""
    waves: list[list[Move]] = []
    counts: dict[tuple[UUID, UUID], int] = defaultdict(int)
    for one in transitions:
        if not one.ruling.is_serving:
            continue
        move = Move(one.ruling.segment_id, one.contact_id, one.is_in, one.at)
        place = counts[move.segment_id, move.contact_id]
        counts[move.segment_id, move.contact_id] += 1
        if place == len(waves):
            waves.append([])
        waves[place].append(move)
    return waves
