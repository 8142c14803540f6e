"""Catch up on missed evaluations, each as of its own moment and with the scores of that moment."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from config.ids import time_of
from events.models import Event
from events.processing.passes import EffectBatch, EffectEvent
from events.rules import AggregateSpec
from events.rules.nodes import RelativeWindow
from scoring.history import ScoreHistory, score_histories
from scoring.rule_scores import SCORE_TIMER_KEY
from segments.invalidation import Affected
from segments.plans import Plan, RuleVersion

PROMPT = timedelta(seconds=5)
"""An evaluation at most this late is done as of now."""

Pairs = dict[UUID, dict[UUID, datetime]]
"""Contacts to evaluate and the moment of each, by version."""


@dataclass(slots=True)
class CatchUp:
    """Moments at which contacts are to be evaluated by rules, each once and in order."""

    workspace_id: UUID
    now: datetime
    # By version and contact.
    waiting: dict[tuple[UUID, UUID], set[datetime]] = field(default_factory=lambda: defaultdict(set))
    histories: Mapping[UUID, ScoreHistory] = field(default_factory=dict)
    # When events that waited long were received: as of then they are evaluated.
    received: dict[UUID, datetime] = field(default_factory=dict)

    def add(self, version: UUID, contact_id: UUID, moment: datetime) -> None:
        """Add an evaluation of a contact by a rule, as of a moment."""
        self.waiting[version, contact_id].add(moment)

    def add_to(self, pairs: Pairs, version: UUID, contact_id: UUID, moment: datetime) -> None:
        """Add an evaluation to this round; of two moments the later one waits for the next round."""
        other = pairs[version].setdefault(contact_id, moment)
        if other != moment:
            pairs[version][contact_id] = min(other, moment)
            self.add(version, contact_id, max(other, moment))

    def add_scores(self, plan: Plan) -> None:
        """Load the scores since the first moment, and add an evaluation at each decay."""
        late = {
            key: min(moments)
            for key, moments in self.waiting.items()
            if plan.rule_versions[key[0]].rule.reads_score and min(moments) < self.now - PROMPT
        }
        if not late:
            return
        contact_ids = {contact_id for _, contact_id in late}
        self.histories = score_histories(
            self.workspace_id, contact_ids, since=min(late.values()), until=self.now
        )
        for (version, contact_id), first in late.items():
            decays = self.histories[contact_id].decays
            self.waiting[version, contact_id].update(at for at in decays if at > first)

    def take_next(self, again: Pairs) -> Pairs:
        """Return the next moment of each (contact, rule); `again`: moments that the evaluation itself has found."""
        pairs: Pairs = defaultdict(dict)
        for version, moments in again.items():
            pairs[version].update(moments)
        for (version, contact_id), waiting in list(self.waiting.items()):
            moment = pairs[version][contact_id] = min(*waiting, pairs[version].get(contact_id, self.now))
            waiting.discard(moment)
            if not waiting:
                del self.waiting[version, contact_id]
        return pairs

    def score_at(self, rule_version: RuleVersion, contact_id: UUID, moment: datetime) -> Decimal | None:
        """Return the score that a rule reads as of a moment; None: the stored one, for now or a moment ago."""
        if moment >= self.now or contact_id not in self.histories or not rule_version.rule.reads_score:
            return None
        return self.histories[contact_id].at(moment)

    def scores_at(self, rule_version: RuleVersion, moments: Mapping[UUID, datetime]) -> dict[UUID, Decimal]:
        """Return the scores that replace the stored ones for a rule."""
        found = ((key, self.score_at(rule_version, key, moment)) for key, moment in moments.items())
        return {contact_id: score for contact_id, score in found if score is not None}


def collect_catch_up(batch: EffectBatch, plan: Plan, affected: Affected) -> CatchUp:
    """Collect the moments at which windows lapsed, scores decayed, or events came whose window is over by now."""
    past = CatchUp(batch.workspace_id, batch.now)
    _add_due(past, batch, plan)
    _add_events(past, batch, plan, affected)
    past.add_scores(plan)
    return past


def _add_due(past: CatchUp, batch: EffectBatch, plan: Plan) -> None:
    scores = []
    for decision in batch.due:
        if decision.timer_key == SCORE_TIMER_KEY:
            scores.append(decision)
        elif decision.timer_key in plan.rule_versions:
            past.add(decision.timer_key, decision.contact_id, decision.due_at)
    if not scores:
        return
    reading = [
        rule_version.version
        for rule_version in plan.rule_versions.values()
        if rule_version.is_serving and rule_version.rule.reads_score
    ]
    for decision in scores:
        if decision.contact_id in batch.scores_changed:
            for version in reading:
                past.add(version, decision.contact_id, decision.due_at)


def _add_events(past: CatchUp, batch: EffectBatch, plan: Plan, affected: Affected) -> None:
    """Evaluate events that waited longer than a rule's window as of their receipt: by now the window is over.

    An event that arrived late let in nobody at its receipt. What went through the effects already is published.
    """
    old = [event for event in batch.events if event.occurred_at < batch.now - PROMPT and not event.is_repeat]
    if not old or not (shortest := _shortest_windows(plan, batch.now - old[0].occurred_at)):
        return
    past.received = _received_before(batch, old, min(shortest.values()))
    waited: dict[tuple[UUID, str], list[EffectEvent]] = defaultdict(list)
    for event in old:
        if event.id in past.received:
            waited[event.contact_id, event.name].append(event)
    for version, length in shortest.items():
        for contact_id, name in _affected_by_name(plan.rule_versions[version], affected):
            for event in waited.get((contact_id, name), ()):
                moment = past.received[event.id]
                if event.occurred_at <= batch.now - length and moment >= time_of(version):
                    past.add(version, contact_id, moment)


def _affected_by_name(rule_version: RuleVersion, affected: Affected) -> set[tuple[UUID, str]]:
    return {
        (contact_id, trigger.event_name)
        for trigger in rule_version.triggers
        if isinstance(trigger, AggregateSpec)
        for contact_id in affected.by_spec.get(trigger, ())
    }


def _shortest_windows(plan: Plan, age: timedelta) -> dict[UUID, timedelta]:
    """Return the serving rules with a window of at most this length, each with its shortest."""
    found = {}
    for version, rule_version in plan.rule_versions.items():
        windows = [leaf.window for leaf in rule_version.rule.event_leaves]
        lengths = [window.length for window in windows if isinstance(window, RelativeWindow)]
        if rule_version.is_serving and lengths and min(lengths) <= age:
            found[version] = min(lengths)
    return found


def _received_before(
    batch: EffectBatch, events: Sequence[EffectEvent], length: timedelta
) -> dict[UUID, datetime]:
    """Return when those events were received that happened so long ago and have waited."""
    event_ids = [event.id for event in events if event.occurred_at <= batch.now - length]
    old = Event.objects.by_ids(batch.workspace_id, event_ids)
    rows = old.filter(received_at__lt=batch.now - PROMPT)
    return dict(rows.values_list("id", "received_at"))
