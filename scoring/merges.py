"""Reassign ledger entries, rule scores and scores after a merge or its undo, in batches.

Stages: "events" evaluates the events of the moved contacts and moves their entries; "entries" moves entries whose
events are gone; "rule_scores" recalculates each rule; "scores" sums up. Effects, edits and re-scorings go on
between batches. Until the last stage the scores are those from before plus what is earned meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection

from config import clock
from config.db.arrays import array
from config.db.backfill import Batch
from config.db.sql import Sql, sql
from config.db.statements import execute, fetch_all, fetch_one
from config.ids import NO_ID
from contacts.merging.reassignment import ReassignedRows, Reassignment
from contacts.models import Contact
from events.processing.timers import schedule_timers
from events.rules.event_matching import given_events
from scoring.calculation import Award, State, calculate
from scoring.models import ScoringRule
from scoring.rescoring import evaluate_events, recalculate_ledger, rescore_contacts, sum_up
from scoring.rule_matching import RuleEvaluator, read_where_event_decides
from scoring.rule_scores import (
    SCORE_TIMER_KEY,
    RuleScoreChange,
    mark_entries,
    schedule_decay,
    write_rule_scores,
)

_MAX_TRIES: Final = 3
"""How often a calculation begins anew that a late entry has overtaken, before it is done under a lock."""

State_ = dict[str, Any]


def _count(reassignment: Reassignment, at_most: int) -> int:
    """Count events and entries of both persons, up to a limit."""
    if not ScoringRule.with_deleted.in_workspace(reassignment.workspace_id).exists():
        return 0
    survivors = [reassignment.old, reassignment.new]
    of_persons = Contact.objects.in_workspace(reassignment.workspace_id).filter(merged_into__in=survivors)
    ids = {*survivors, *reassignment.moved, *of_persons.values_list("id", flat=True)}
    row = fetch_one(
        _COUNT,
        [
            *(sorted(ids), reassignment.workspace_id, at_most, at_most),
            *(reassignment.workspace_id, survivors, at_most),
        ],
    )
    return int(row[0])


# Each contact's by themselves, so that the limits stop the scan of an index.
_COUNT: Final = """
SELECT (SELECT count(*) FROM (
    SELECT FROM unnest(%s::uuid[]) AS one (id) CROSS JOIN LATERAL (
        SELECT FROM events_event WHERE workspace_id = %s AND contact_id = one.id LIMIT %s
    ) e LIMIT %s
) events) + (SELECT count(*) FROM (
    SELECT FROM scoring_scoreentry WHERE workspace_id = %s AND contact_id = ANY(%s) LIMIT %s
) entries)
"""


def _total(reassignment: Reassignment) -> int:
    """Count what is moved in batches: events of the moved contacts, and entries of both persons."""
    row = fetch_one(
        "SELECT (SELECT count(*) FROM events_event WHERE workspace_id = %s AND contact_id = ANY(%s))"
        " + (SELECT count(*) FROM scoring_scoreentry WHERE workspace_id = %s AND contact_id = ANY(%s))",
        [
            *(reassignment.workspace_id, list(reassignment.moved)),
            *(reassignment.workspace_id, [reassignment.old, reassignment.new]),
        ],
    )
    return int(row[0])


def _move(reassignment: Reassignment) -> None:
    rescore_contacts(reassignment.workspace_id, [reassignment.old, reassignment.new])


def _move_some(reassignment: Reassignment, state: State_, rows: int) -> Batch:
    stage = _STAGES[state.get("stage", "events")]
    return stage(reassignment, state, rows)


def _move_events(reassignment: Reassignment, state: State_, rows: int) -> Batch:
    """Evaluate a batch of a moved contact's events, and move their entries to the contact's survivor."""
    place = state.get("place", 0)
    events: list[tuple[UUID, str]] = fetch_all(
        "SELECT id, name FROM events_event WHERE workspace_id = %s AND contact_id = %s AND id > %s"
        " ORDER BY id LIMIT %s",
        [
            reassignment.workspace_id,
            reassignment.moved[place],
            UUID(state.get("after", str(NO_ID))),
            rows,
        ],
    )
    if events:
        _evaluate_events(reassignment, events)
        _reassign_entries(
            reassignment,
            sql(
                "workspace_id = {:uuid} AND event_id = ANY({:uuid[]}) AND contact_id <> {:uuid}",
                reassignment.workspace_id,
                array(event_id for event_id, _ in events),
                reassignment.new,
            ),
        )
    if len(events) == rows:
        return Batch({"stage": "events", "place": place, "after": str(events[-1][0])}, len(events))
    if place + 1 < len(reassignment.moved):
        return Batch({"stage": "events", "place": place + 1}, len(events))
    return Batch({"stage": "entries"}, len(events))


def _evaluate_events(reassignment: Reassignment, events: Sequence[tuple[UUID, str]]) -> None:
    """Rewrite the entries of rules that read the event only."""
    ids: dict[str, list[UUID]] = defaultdict(list)
    for event_id, name in events:
        ids[name].append(event_id)
    evaluators: dict[str, list[RuleEvaluator]] = defaultdict(list)
    rules = ScoringRule.objects.in_workspace(reassignment.workspace_id).filter(event_name__in=ids)
    for evaluator in read_where_event_decides(rules.order_by("id")):
        evaluators[evaluator.rule.event_name].append(evaluator)
    for name, named in evaluators.items():
        owner = [reassignment.new] * len(ids[name])
        source = given_events(reassignment.workspace_id, ids[name], owner)
        scope = sql("s.event_id = ANY({:uuid[]})", array(ids[name]))
        evaluate_events(reassignment.workspace_id, source, scope, named, clock.now())


def _move_remaining_entries(reassignment: Reassignment, _: State_, rows: int) -> Batch:
    """Move entries whose events are not in the stream any more."""
    theirs = [contact_id for contact_id in reassignment.moved if contact_id != reassignment.new]
    chunk = sql(
        "workspace_id = {0:uuid} AND ctid = ANY (ARRAY(SELECT ctid FROM scoring_scoreentry"
        " WHERE workspace_id = {0:uuid} AND contact_id = ANY({1:uuid[]}) LIMIT {2:int}))",
        reassignment.workspace_id,
        array(theirs),
        rows,
    )
    moved = _reassign_entries(reassignment, chunk)
    if moved == rows:
        return Batch({"stage": "entries"}, moved)
    return Batch({"stage": "rule_scores", "left": _entries_by_rule(reassignment)}, moved)


def _reassign_entries(reassignment: Reassignment, which: Sql) -> int:
    """Move entries to the contacts that theirs were merged into. Returns their number."""
    return execute(
        sql("UPDATE scoring_scoreentry SET contact_id = {:uuid} WHERE {}", reassignment.new, which)
    )


def _entries_by_rule(reassignment: Reassignment) -> list[list[Any]]:
    """Return [rule id, number of entries] of every rule with entries or rule scores of either contact."""
    contacts = [reassignment.old, reassignment.new]
    rows = fetch_all(
        "SELECT rule_id::text, sum(entries)::int FROM ("
        " SELECT rule_id, count(*) AS entries FROM scoring_scoreentry"
        " WHERE workspace_id = %s AND contact_id = ANY(%s) GROUP BY rule_id"
        " UNION ALL SELECT rule_id, 0 FROM scoring_rulescore WHERE workspace_id = %s AND contact_id = ANY(%s)"
        ") given GROUP BY rule_id ORDER BY rule_id",
        [reassignment.workspace_id, contacts, reassignment.workspace_id, contacts],
    )
    return [list(row) for row in rows]


def _move_rule_scores(reassignment: Reassignment, state: State_, rows: int) -> Batch:
    """Recalculate rules with few entries together, a rule with many a batch of entries at a time."""
    left: list[list[Any]] = state["left"]
    rule_ids: list[UUID] = []
    number = 0
    while left and (not rule_ids or number + left[0][1] <= rows):
        rule_id, entries = left[0]
        if entries > rows and not rule_ids and (rule := _calculated_rule(reassignment, rule_id)):
            return _calculate_rule_scores(reassignment, state, rule, rows)
        rule_ids.append(UUID(rule_id))
        number += entries
        left.pop(0)
    rules = ScoringRule.with_deleted.in_workspace(reassignment.workspace_id).filter(id__in=rule_ids)
    recalculate_ledger(
        reassignment.workspace_id, [reassignment.old, reassignment.new], list(rules), clock.now()
    )
    return Batch({"stage": "rule_scores", "left": left} if left else {"stage": "scores"}, number)


def _calculated_rule(reassignment: Reassignment, rule_id: str) -> ScoringRule | None:
    rule = ScoringRule.with_deleted.in_workspace(reassignment.workspace_id).filter(id=rule_id).first()
    return None if rule is None or rule.terms.are_plain else rule


def _calculate_rule_scores(reassignment: Reassignment, state: State_, rule: ScoringRule, rows: int) -> Batch:
    """Calculate the next batch of a contact's entries under one rule, on top of those before.

    After the last one, begin anew if an entry came in among them meanwhile or the rule was edited.
    """
    left: list[list[Any]] = state["left"]
    now = clock.now()
    progress = _Progress.read(state.get("calculation"), reassignment, rule)
    entries = progress.next_entries(reassignment.workspace_id, rows)
    progress.add(reassignment.workspace_id, entries, now)
    if len(entries) == rows:
        return Batch({"stage": "rule_scores", "left": left, "calculation": progress.written()}, len(entries))
    if progress.is_overtaken(reassignment.workspace_id):
        if progress.tries < _MAX_TRIES:
            anew = _Progress(rule, progress.contact_id, tries=progress.tries + 1)
            return Batch({"stage": "rule_scores", "left": left, "calculation": anew.written()}, len(entries))
        recalculate_ledger(reassignment.workspace_id, [progress.contact_id], [rule], now)
    else:
        progress.store(reassignment.workspace_id, now)
    if progress.contact_id == reassignment.old:
        other = _Progress(rule, reassignment.new)
        return Batch({"stage": "rule_scores", "left": left, "calculation": other.written()}, len(entries))
    left = left[1:]
    return Batch({"stage": "rule_scores", "left": left} if left else {"stage": "scores"}, len(entries))


class _Progress:
    """Progress through one contact's entries under one rule; the contact from before the merge comes first."""

    def __init__(self, rule: ScoringRule, contact_id: UUID, *, tries: int = 1) -> None:
        self.rule = rule
        self.contact_id = contact_id
        self.tries = tries
        self.terms_key = _terms_key(rule)
        self.state: State | None = None
        self.at: tuple[datetime, UUID] | None = None
        # Of the entries that were added: their number, and a sum that differs for other entries.
        self.number = 0
        self.sum = 0

    @classmethod
    def read(cls, known: State_ | None, reassignment: Reassignment, rule: ScoringRule) -> _Progress:
        if known is None:
            return cls(rule, reassignment.old)
        build = cls(rule, UUID(known["contact"]), tries=known["tries"])
        if known["terms"] != build.terms_key or known["at"] is None:
            return build
        build.number, build.sum = known["number"], known["sum"]
        build.at = (datetime.fromisoformat(known["at"][0]), UUID(known["at"][1]))
        value, last_at, last_event_id, counted = known["state"]
        build.state = State(Decimal(value), datetime.fromisoformat(last_at), UUID(last_event_id), counted)
        return build

    def written(self) -> State_:
        return {
            "contact": str(self.contact_id),
            "tries": self.tries,
            "terms": self.terms_key,
            "number": self.number,
            "sum": self.sum,
            "at": self.at and [self.at[0].isoformat(), str(self.at[1])],
            "state": self.state
            and [
                str(self.state.value),
                self.state.last_at.isoformat(),
                str(self.state.last_event_id),
                self.state.counted,
            ],
        }

    def next_entries(self, workspace_id: UUID, rows: int) -> list[tuple[Award, bool, int]]:
        """Return the next entries in (time, event) order: (award, is superseded, its part of the checksum)."""
        after = "AND occurred_at >= %s AND (occurred_at, event_id) > (%s, %s)" if self.at else ""
        at: list[Any] = [self.at[0], *self.at] if self.at else []
        with connection.cursor() as cursor:
            cursor.execute(
                f"SELECT occurred_at, event_id, points, is_superseded, {_PART} FROM scoring_scoreentry"
                f" WHERE workspace_id = %s AND contact_id = %s AND rule_id = %s {after}"
                " ORDER BY occurred_at, event_id LIMIT %s",
                [workspace_id, self.contact_id, self.rule.id, *at, rows],
            )
            return [(Award(*award), mark, part) for *award, mark, part in cursor.fetchall()]

    def add(self, workspace_id: UUID, entries: Sequence[tuple[Award, bool, int]], now: datetime) -> None:
        """Calculate entries, and mark those past the rule's limit."""
        if not entries:
            return
        outcome = calculate(self.rule.terms, (award for award, _, _ in entries), now, self.state)
        superseded = outcome.superseded
        marks = {
            award.event_id: not mark
            for award, mark, _ in entries
            if (award.event_id in superseded) is not mark
        }
        mark_entries(workspace_id, [(self.rule.id, marks)])
        self.state = outcome.state
        self.at = entries[-1][0].occurred_at, entries[-1][0].event_id
        self.number += len(entries)
        self.sum += sum(part for _, _, part in entries)

    def is_overtaken(self, workspace_id: UUID) -> bool:
        """Whether entries up to the last one calculated have changed since."""
        if self.at is None:
            return False
        row = fetch_one(
            f"SELECT count(*), COALESCE(sum({_PART}), 0) FROM scoring_scoreentry WHERE workspace_id = %s"
            " AND contact_id = %s AND rule_id = %s AND (occurred_at, event_id) <= (%s, %s)",
            [workspace_id, self.contact_id, self.rule.id, *self.at],
        )
        return bool(row != (self.number, self.sum))

    def store(self, workspace_id: UUID, now: datetime) -> None:
        """Store the rule score; without entries, delete it."""
        if self.state is None:
            recalculate_ledger(workspace_id, [self.contact_id], [self.rule], now)
            return
        value = calculate(self.rule.terms, (), now, self.state).value
        settled = [RuleScoreChange(self.rule, self.contact_id, self.state, value, Decimal(0))]
        write_rule_scores(workspace_id, settled)
        schedule_decay(workspace_id, settled, now)


# A rule that is re-scored meanwhile may change the points, and no edit is seen in that.
_PART: Final = "hashtext(event_id::text || ' ' || points)::bigint"


def _terms_key(rule: ScoringRule) -> str:
    """Return a text that changes with every edit that affects the entries or their calculation."""
    return repr((replace(rule.terms), rule.points, rule.rescore_started_at, rule.deleted_at))


def _sum_up(reassignment: Reassignment, _: State_, rows: int) -> Batch:
    """Set the scores to the sums of their rules, and set timers so that the other effects see them."""
    contacts = [reassignment.old, reassignment.new]
    now = clock.now()
    changed: Collection[UUID] = sum_up(reassignment.workspace_id, contacts, now)
    schedule_timers(reassignment.workspace_id, [(SCORE_TIMER_KEY, contact_id, now) for contact_id in changed])
    return Batch(None)


_STAGES: Final = {
    "events": _move_events,
    "entries": _move_remaining_entries,
    "rule_scores": _move_rule_scores,
    "scores": _sum_up,
}

REASSIGNED_ROWS: Final = ReassignedRows(count=_count, total=_total, move=_move, move_some=_move_some)
