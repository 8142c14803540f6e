"""Verify stored scores against scores recalculated from the stream.

A batch of contacts is read in one snapshot: nothing waits for it, nothing that runs meanwhile counts as a
difference, and what waits in the snapshot's outbox and timers counts as not applied yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q

from config import clock
from contacts.merging.reassignment import under_way
from contacts.models import Contact, ContactScore, Merge
from events.errors import InvalidCondition
from events.models import Event, EventBatch, ParkedEffect, Timer
from events.processing.passes import lock_lane
from events.rules.event_matching import ALWAYS
from events.rules.nodes import EventLeaf, PropertyLeaf, Rule
from events.rules.reference import EventRecord, Person, holds, passes
from events.stream.derived_events import MAX_DEPTH
from events.stream.outbox import lane_of
from events.stream.queries import named_events_of
from scoring.calculation import calculate, next_decay
from scoring.models import RuleScore, ScoreEntry, ScoringRule
from scoring.rescoring import reevaluate_contacts, rescore_contacts
from scoring.rule_matching import read
from scoring.rule_scores import SCORE_TIMER_KEY
from scoring.rules import EFFECT, parked_key_of

_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Difference:
    """A stored value of a contact's score that differs from the recalculated one."""

    contact_id: UUID
    what: str
    # Of what a rule gave that asks for more than the event: only another evaluation mends it.
    rule_id: UUID | None = None

    def __str__(self) -> str:
        return f"contact {self.contact_id}: {self.what}"


def verify_contacts(workspace_id: UUID, contact_ids: Sequence[UUID]) -> list[Difference]:
    """Recalculate the scores of contacts and those merged into them. Changes and locks nothing."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return list(_Recount(workspace_id, contact_ids).differences())


@dataclass(frozen=True, slots=True)
class Verified:
    """Differences, the contacts that have them, and those of whom some are left after the repair."""

    differences: list[Difference]
    contacts: set[UUID]
    remaining: set[UUID]


def verify_and_repair(workspace_id: UUID, contact_ids: Sequence[UUID], *, repair: bool) -> Verified:
    """Compare the scores of contacts with the stream, and re-score those that differ, if that is wanted."""
    differences = verify_contacts(workspace_id, contact_ids)
    wrong = remaining = {difference.contact_id for difference in differences}
    if repair and wrong:
        repair_contacts(workspace_id, wrong)
        remaining = {difference.contact_id for difference in verify_contacts(workspace_id, list(wrong))}
    return Verified(differences, wrong, remaining)


def repair_contacts(workspace_id: UUID, contact_ids: Collection[UUID]) -> None:
    """Re-score contacts, a lane at a time."""
    lanes: dict[int, list[UUID]] = defaultdict(list)
    for contact_id in contact_ids:
        lanes[lane_of(contact_id)].append(contact_id)
    for lane, ids in lanes.items():
        with lock_lane(workspace_id, lane):
            rescore_contacts(workspace_id, ids)
            left: dict[UUID, set[UUID]] = defaultdict(set)
            for difference in _Recount(workspace_id, ids).differences():
                if difference.rule_id is not None:
                    left[difference.rule_id].add(difference.contact_id)
            for rule_id, differing in left.items():
                reevaluate_contacts(workspace_id, differing, rule_id)


_UNDER_WAY = timedelta(seconds=10)
"""An event may be received so much earlier than another, and yet be recorded after that was evaluated."""


_MOST_EVENTS = 1_000
"""Events of a contact, at most, for a rule that asks for earlier ones: each is evaluated with all before it."""


def _asks_events_only(tree: Rule) -> bool:
    return all(isinstance(leaf, EventLeaf | PropertyLeaf) for leaf in tree.root.leaves())


def _may_earn(rule: ScoringRule, event: Event) -> bool:
    return rule.active and event.name == rule.event_name and event.depth <= MAX_DEPTH


def _may_have_come_later(other: Event, evaluated: Event) -> bool:
    return other.id != evaluated.id and other.received_at > evaluated.received_at - _UNDER_WAY


def _by_name(events: Sequence[Event]) -> dict[str, list[EventRecord]]:
    by_name: dict[str, list[EventRecord]] = defaultdict(list)
    for event in events:
        by_name[event.name].append(_event_record(event))
    return by_name


def _event_record(event: Event) -> EventRecord:
    return EventRecord(event.id, event.name, event.occurred_at, event.properties, event.context)


class _Recount:
    """A snapshot of contacts: recalculated values beside stored ones."""

    def __init__(self, workspace_id: UUID, contact_ids: Sequence[UUID]) -> None:
        self.workspace_id = workspace_id
        # What is on its way from one contact to another is with neither wholly.
        moving = under_way(workspace_id)
        self.contacts = [contact_id for contact_id in contact_ids if contact_id not in moving]
        merged = Contact.objects.in_workspace(workspace_id).filter(merged_into__in=self.contacts)
        self.owners: dict[UUID, UUID] = {contact_id: contact_id for contact_id in self.contacts}
        self.owners |= {
            merged_id: into for merged_id, into in merged.values_list("id", "merged_into_id") if into
        }
        # Only now, with its first look, is the snapshot taken: what is in it has happened.
        self.now = clock.now()
        rules = list(ScoringRule.with_deleted.in_workspace(workspace_id).order_by("id"))
        # What is being re-scored is between two rules.
        self.rescoring = {rule.id for rule in rules if rule.is_rescoring}
        self.rules = {rule.id: rule for rule in rules}
        self.open = self._open_events()
        self.stored: dict[UUID, dict[UUID, list[ScoreEntry]]] = defaultdict(lambda: defaultdict(list))
        for entry in (
            ScoreEntry.objects.in_workspace(workspace_id)
            .filter(contact_id__in=self.owners)
            .order_by("occurred_at", "event_id")
        ):
            self.stored[entry.contact_id][entry.rule_id].append(entry)

    def differences(self) -> Iterator[Difference]:
        """Compare the ledger, then the rule scores, then the sums."""
        for rule in self.rules.values():
            if rule.deleted_at is None and rule.id not in self.rescoring:
                yield from self._ledger_differences(rule)
        due = dict(
            Timer.objects.in_workspace(self.workspace_id)
            .filter(timer_key=SCORE_TIMER_KEY, contact_id__in=self.owners)
            .values_list("contact_id", "due_at")
        )
        rule_scores: dict[UUID, dict[UUID, RuleScore]] = defaultdict(dict)
        for row in RuleScore.objects.in_workspace(self.workspace_id).filter(
            contact_id__in=self.owners, rule_id__in=self.rules
        ):
            rule_scores[row.contact_id][row.rule_id] = row
        scores = dict(
            ContactScore.objects.in_workspace(self.workspace_id)
            .filter(contact_id__in=self.owners)
            .values_list("contact_id", "points")
        )
        for contact_id, owner_id in self.owners.items():
            for what in self._value_differences(contact_id, rule_scores[contact_id], due.get(contact_id)):
                yield Difference(owner_id, what)
            for what in self._score_differences(contact_id, rule_scores[contact_id], scores.get(contact_id)):
                yield Difference(owner_id, what)

    def _ledger_differences(self, rule: ScoringRule) -> Iterator[Difference]:
        """Compare entries with what the stream earns, for events that the rule evaluates."""
        try:
            evaluator = read(rule, rule.effective_from)
        except InvalidCondition:
            # What it gave is what it gave: `unreadable_rules` names it.
            return
        if evaluator.needs_contact and not _asks_events_only(evaluator.tree):
            return
        answer = self._evaluated_with_history if evaluator.needs_contact else self._evaluated_alone
        evaluated = answer(rule, evaluator.tree, self._events(rule))
        anew = rule.id if evaluator.needs_contact else None
        waiting = self.open | self._parked_events(rule)
        stored = {
            entry.event_id: entry for of_rule in self.stored.values() for entry in of_rule.get(rule.id, ())
        }
        for event_id, (contact_id, matches) in evaluated.items():
            entry = stored.get(event_id)
            if entry is None:
                if matches and event_id not in waiting:
                    what = f"event {event_id} earned nothing under rule {rule.id}"
                    yield Difference(contact_id, what, anew)
            elif not matches:
                what = f"event {event_id} earned points under rule {rule.id}"
                yield Difference(self.owners[entry.contact_id], what, anew)
            else:
                yield from self._entry_differences(entry, contact_id, rule)

    def _entry_differences(
        self, entry: ScoreEntry, contact_id: UUID, rule: ScoringRule
    ) -> Iterator[Difference]:
        if entry.points != rule.points:
            what = f"event {entry.event_id} earned {entry.points}, not {rule.points}, under rule {rule.id}"
            yield Difference(contact_id, what)
        if entry.contact_id != contact_id:
            # Both are wrong: who has it, and who has not.
            for owner in (contact_id, self.owners[entry.contact_id]):
                yield Difference(
                    owner, f"event {entry.event_id} earned points for contact {entry.contact_id}"
                )

    def _events(self, rule: ScoringRule) -> dict[UUID, Event]:
        """Return the events that the rule evaluates, and those that it awarded."""
        awarded = [entry.event_id for of_rule in self.stored.values() for entry in of_rule.get(rule.id, ())]
        # Two queries: each has an index of its own.
        since = rule.effective_from or ALWAYS
        named = named_events_of(self.workspace_id, self.owners, [rule.event_name], received_from=since)
        awarded_events = Event.objects.by_ids(self.workspace_id, awarded).filter(received_at__gte=since)
        return {event.id: event for events in (named, awarded_events) for event in events}

    def _evaluated_alone(
        self, rule: ScoringRule, tree: Rule, events: Mapping[UUID, Event]
    ) -> dict[UUID, tuple[UUID, bool]]:
        """Return (owner, whether it earns points) of each event, for a rule that reads the event only."""
        return {
            event.id: (
                self.owners.get(event.contact_id, event.contact_id),
                _may_earn(rule, event) and passes(tree.root, _event_record(event), event.occurred_at),
            )
            for event in events.values()
            if event.contact_id is not None
        }

    def _evaluated_with_history(
        self, rule: ScoringRule, tree: Rule, events: Mapping[UUID, Event]
    ) -> dict[UUID, tuple[UUID, bool]]:
        """Evaluate a rule that asks for earlier events, for events of which it is sure what was known then.

        The first outcome is kept, whatever becomes known later. So events are left out beside which one may have
        come in afterwards, and so are contacts that were ever merged.
        """
        histories: dict[UUID, list[Event]] = defaultdict(list)
        alone = set(self.owners) - self._ever_merged()
        names = {rule.event_name, *tree.event_names}
        known = named_events_of(self.workspace_id, alone, names)
        for event in sorted(known, key=lambda event: (event.occurred_at, event.id)):
            if event.contact_id is not None:
                histories[event.contact_id].append(event)
        answers = {}
        for contact_id, history in histories.items():
            for event in history if len(history) <= _MOST_EVENTS else ():
                if event.id not in events:
                    continue
                before = [earlier for earlier in history if earlier.occurred_at <= event.occurred_at]
                if not any(_may_have_come_later(earlier, event) for earlier in before):
                    person = Person(contact_id, {}, {}, events=_by_name(before))
                    does_match = holds(
                        tree.root, person, event.occurred_at, lambda _: False, _event_record(event)
                    )
                    answers[event.id] = (contact_id, _may_earn(rule, event) and does_match)
        return answers

    def _ever_merged(self) -> set[UUID]:
        of_chunk = Q(survivor_id__in=self.owners) | Q(merged_id__in=self.owners)
        merges = Merge.objects.in_workspace(self.workspace_id).filter(of_chunk)
        return {contact_id for pair in merges.values_list("survivor_id", "merged_id") for contact_id in pair}

    def _open_events(self) -> set[UUID]:
        batches = EventBatch.objects.in_workspace(self.workspace_id).filter(is_repeat=False)
        return {event_id for ids in batches.values_list("event_ids", flat=True) for event_id in ids}

    def _parked_events(self, rule: ScoringRule) -> set[UUID]:
        parked = ParkedEffect.objects.in_workspace(self.workspace_id).filter(effect=EFFECT)
        return {
            event_id
            for subject, ids in parked.values_list("subject", "event_ids")
            if subject == parked_key_of(rule.id) or not subject.startswith("rule:")
            for event_id in ids
        }

    def _value_differences(
        self, contact_id: UUID, rule_scores: dict[UUID, RuleScore], due_at: datetime | None
    ) -> Iterator[str]:
        """Recalculate each rule score, and compare the marks, the state and the timers."""
        for rule_id in {*self.stored[contact_id], *rule_scores} - self.rescoring:
            rule = self.rules.get(rule_id)
            if rule is None:
                continue
            entries, row = self.stored[contact_id][rule_id], rule_scores.get(rule_id)
            outcome = calculate(rule.terms, (entry.award for entry in entries), self.now)
            if {entry.event_id for entry in entries if entry.is_superseded} != outcome.superseded:
                yield f"the limit of rule {rule_id} leaves out the wrong entries"
            if rule.terms.are_plain or outcome.state is None:
                if row is not None:
                    yield f"rule {rule_id} has a value of its own, and should not"
            elif row is None or row.state != outcome.state:
                yield f"the value of rule {rule_id} is {row and row.value}, not {outcome.state.value}"
            else:
                yield from self._time_differences(rule, row, outcome.value, due_at)

    def _time_differences(
        self, rule: ScoringRule, row: RuleScore, value: Decimal, due_at: datetime | None
    ) -> Iterator[str]:
        """Report a wrong included value, or a next decay without a timer.

        Until due decay is applied, the value before it is right as well.
        """
        looked = min(self.now, due_at - _TICK) if due_at else self.now
        if row.included not in (value, calculate(rule.terms, (), looked, row.state).value):
            yield f"the score includes {row.included} of rule {rule.id}, not {value}"
        next_at = next_decay(rule.terms, row.state, self.now)
        if next_at is not None and (due_at is None or due_at > next_at):
            yield f"nobody will look when rule {rule.id} decays at {next_at:%Y-%m-%d %H:%M:%S}"

    def _score_differences(
        self, contact_id: UUID, rule_scores: dict[UUID, RuleScore], score: Decimal | None
    ) -> Iterator[str]:
        ledger = self.stored[contact_id]
        counting = [
            entry.points
            for rule_id, entries in ledger.items()
            if rule_id not in rule_scores
            for entry in entries
            if not entry.is_superseded
        ]
        total = sum([*counting, *(row.included for row in rule_scores.values())], Decimal(0))
        expected = total if any(ledger.values()) else None
        if score != expected:
            yield f"the score is {score}, not {expected}"
