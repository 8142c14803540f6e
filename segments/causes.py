"""Find the event that caused an entry into a segment or an exit: the one by which the rule's answer changed.

The events of a run are left out again, last first, until the rule answers as before; the same SQL decides. Changes
of the contact cannot be left out: one is the cause if leaving out events changes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from config.db.arrays import array, array_of_decimals
from config.db.sql import sql
from config.db.statements import fetch_all
from config.ids import NO_ID
from contacts.models import ContactScore
from events.id_bounds import known_until
from events.models import Event
from events.names import CONTACT_CREATED, CONTACT_MERGED, CONTACT_PREFIX, SEGMENT_PREFIX
from events.processing.passes import EffectBatch, EffectEvent
from events.rules import CompiledRules, compile_rules
from events.rules.batches import batch_rules
from events.rules.compiler import bound_values
from events.rules.nodes import AttributeLeaf, ChannelLeaf, CompanyLeaf, Leaf, TagLeaf
from events.stream.lateness import are_late, level_of
from events.stream.outbox import lane_of
from scoring.models import ScoreEntry
from scoring.rule_scores import SCORE_TIMER_KEY
from segments.catch_up import CatchUp
from segments.evaluation import MergedIds, Transition
from segments.invalidation import CHANGES_CONTACT
from segments.plans import Plan, RuleVersion

_MOST_WAITING = 5_000
"""Outbox batches that are searched for events that an evaluation has seen before their effects."""

Causes = dict[tuple[UUID, UUID], EffectEvent | None]
"""Cause by (version, contact); None: time alone."""


@dataclass(slots=True)
class _ChangeCause:
    """A membership change and its possible causes, each list in the order of receipt."""

    transition: Transition
    # What the rule counts, or what earned points that it reads: that can be taken away again.
    counted: list[EffectEvent] = field(default_factory=list)
    # By event, where the rule reads the score.
    points: Mapping[UUID, Decimal] = field(default_factory=dict)
    # Changes of the contact, which cannot.
    changes: list[EffectEvent] = field(default_factory=list)
    is_timed: bool = False
    # With the first `low` of `counted` the rule answers as before, with the first `high` as it does now.
    low: int = 0
    high: int = 0
    is_counted: bool = False

    @property
    def is_open(self) -> bool:
        """Whether several causes are still possible."""
        return self.high - self.low > 1

    @property
    def is_plain(self) -> bool:
        """Whether only one event can be the cause."""
        rule = self.transition.rule_version.rule
        return (
            len(self.counted) == 1
            and not (self.changes or self.is_timed or self.points)
            and not (rule.reads_contact or rule.reads_score or rule.segment_ids)
        )


class CauseResolver:
    """Finds the event that caused each membership change of a run."""

    def __init__(self, batch: EffectBatch, plan: Plan, merged: MergedIds, gone: set[UUID], past: CatchUp):
        self.batch = batch
        self.plan = plan
        self.merged = merged
        self.past = past
        self.events: dict[UUID, list[EffectEvent]] = defaultdict(list)
        for event in sorted(batch.events, key=lambda event: event.order):
            self.events[event.contact_id].append(event)
        self.timed = {(decision.timer_key, decision.contact_id) for decision in batch.due}
        self.survivor_of = {
            UUID(merged_id): survivor
            for survivor, ids in merged.items()
            for merged_id in ids[1:-1].split(",")[1:]
        }
        self.gone = gone
        self.waiting: dict[UUID, list[EffectEvent]] = defaultdict(list)
        self.earned: dict[UUID, dict[UUID, Decimal]] = defaultdict(dict)
        # The stored scores of who earned something in this run.
        self.scores: dict[UUID, Decimal] = {}
        self.changed: dict[UUID, Mapping[str, Any]] = {}
        # Of who came into a segment that others build on, or left it: by segment and contact.
        self.of_segments: dict[tuple[UUID, UUID], EffectEvent | None] = {}

    def look_up(self, transitions: Sequence[Transition]) -> None:
        """Load what distinguishes possible causes, for all changes."""
        scanned = [
            transition
            for transition in transitions
            if transition.contact_id not in self.gone and self._scans(transition.rule_version)
        ]
        self._read_waiting(scanned)
        self._read_earned(
            [transition for transition in transitions if transition.rule_version.rule.reads_score]
        )
        self._read_changes(transitions)

    def resolve_causes(self, wave: Sequence[Transition]) -> Causes:
        """Return the causes of one wave: each contact changes once by a rule, lower segments first."""
        moves = [self._move(transition) for transition in wave if transition.contact_id not in self.gone]
        self._take_away(moves)
        causes: Causes = {
            (transition.rule_version.version, transition.contact_id): self._merge_of(transition.contact_id)
            for transition in wave
            if transition.contact_id in self.gone
        }
        for move in moves:
            transition = move.transition
            cause = self._cause(move)
            causes[transition.rule_version.version, transition.contact_id] = cause
            if self.plan.dependents:
                self.of_segments[transition.segment_id, transition.contact_id] = cause
        return causes

    # What may have caused it -------------------------------------------------------------------------------

    def _move(self, transition: Transition) -> _ChangeCause:
        rule, contact_id, at = transition.rule_version.rule, transition.contact_id, transition.at
        is_now = at >= self.batch.now
        move = _ChangeCause(transition)
        move.is_timed = not is_now or any(
            (timer_key, contact_id) in self.timed
            for timer_key in (transition.rule_version.version, SCORE_TIMER_KEY)
        )
        if is_now and rule.reads_score and contact_id in self.batch.scores_changed:
            move.points = self.earned[contact_id]
        names, until = rule.event_names, self._until(at)
        for event in self.events.get(contact_id, ()):
            if (event.name in names and event.occurred_at <= until) or event.id in move.points:
                move.counted.append(event)
            elif (
                is_now
                and _is_contact_event(event)
                and (rule.reads_contact or event.name not in CHANGES_CONTACT)
            ):
                move.changes.append(event)
        waiting = self.waiting.get(contact_id, ())
        seen = [event for event in waiting if event.name in names and event.occurred_at <= until]
        if seen and self._scans(transition.rule_version):
            move.counted = sorted([*move.counted, *seen], key=lambda event: event.order)
        move.high = len(move.counted)
        return move

    def _until(self, at: datetime) -> datetime:
        """Return the moment up to which events count for an evaluation."""
        return at if at < self.batch.now else known_until(self.batch.now)

    def _scans(self, rule_version: RuleVersion) -> bool:
        """Whether the rule reads the stream, and so sees events whose effects are pending."""
        return not rule_version.aggregates <= self.plan.built or rule_version.reads_windows

    def _read_waiting(self, transitions: Sequence[Transition]) -> None:
        names = {name for transition in transitions for name in transition.rule_version.rule.event_names}
        if not names:
            return
        owner_of = {
            any_id: transition.contact_id
            for transition in transitions
            for any_id in self._ids_of(transition.contact_id)
        }
        rows = fetch_all(
            _WAITING,
            [
                self.batch.workspace_id,
                sorted({lane_of(any_id) for any_id in set(owner_of.values())}),
                _MOST_WAITING,
                self.batch.workspace_id,
                array(owner_of),
                array(owner_of.values()),
                list(names),
            ],
        )
        moments = ((name, occurred_at, received_at) for _, _, name, occurred_at, *_, received_at in rows)
        late = are_late(self.batch.workspace_id, moments)
        for (id_, contact_id, name, occurred_at, source, depth, level, received_at), is_late in zip(
            rows, late, strict=True
        ):
            own = level_of(level, is_late)
            event = EffectEvent(
                id_, contact_id, name, occurred_at, source, depth, own, False, received_at, is_late
            )
            self.waiting[contact_id].append(event)

    def _ids_of(self, contact_id: UUID) -> list[UUID]:
        ids = self.merged.get(contact_id)
        return [contact_id] if ids is None else [UUID(merged_id) for merged_id in ids[1:-1].split(",")]

    def _read_earned(self, transitions: Sequence[Transition]) -> None:
        contact_ids = {transition.contact_id for transition in transitions} & self.batch.scores_changed
        event_ids = [event.id for contact_id in contact_ids for event in self.events.get(contact_id, ())]
        if not event_ids:
            return
        entries = ScoreEntry.objects.in_workspace(self.batch.workspace_id).filter(
            event_id__in=event_ids, is_superseded=False
        )
        for event_id, contact_id, points in entries.values_list("event_id", "contact_id", "points"):
            owner = self.survivor_of.get(contact_id, contact_id)
            earned = self.earned[owner]
            earned[event_id] = earned.get(event_id, Decimal(0)) + points
        scores = ContactScore.objects.in_workspace(self.batch.workspace_id).filter(
            contact_id__in=list(self.earned)
        )
        self.scores = dict(scores.values_list("contact_id", "points"))

    def _read_changes(self, transitions: Sequence[Transition]) -> None:
        """Load the contact's changes where one of several is to be found."""
        contact_ids = {
            transition.contact_id for transition in transitions if transition.rule_version.rule.reads_contact
        }
        event_ids = [
            event.id
            for contact_id in contact_ids
            for events in [self.events.get(contact_id, ())]
            if len(events) > 1
            for event in events
            if _is_contact_event(event)
        ]
        changes = Event.objects.by_ids(self.batch.workspace_id, event_ids)
        self.changed = dict(changes.values_list("id", "properties"))

    # Which of it was it ------------------------------------------------------------------------------------

    def _take_away(self, moves: Sequence[_ChangeCause]) -> None:
        """Bisect the events of each change for the one that caused it, all changes at once."""
        asked = []
        for move in moves:
            if move.is_plain:
                move.is_counted = True
            elif move.counted:
                asked.append(move)
        answers = self._answers(asked, [0] * len(asked))
        for move, holds in zip(asked, answers, strict=True):
            # Without all of it the rule says the same: something else has done it.
            move.is_counted = holds is not move.transition.is_in
        while still := [move for move in asked if move.is_counted and move.is_open]:
            middles = [(move.low + move.high) // 2 for move in still]
            answers = self._answers(still, middles)
            for move, middle, holds in zip(still, middles, answers, strict=True):
                if holds is move.transition.is_in:
                    move.high = middle
                else:
                    move.low = middle

    def _answers(self, moves: Sequence[_ChangeCause], known: Sequence[int]) -> list[bool]:
        """Return whether each rule holds with only the first events known."""
        answers = [False] * len(moves)
        together: dict[object, list[int]] = defaultdict(list)
        for place, move in enumerate(moves):
            rule_version = move.transition.rule_version
            if known[place] == 0 and self._is_new(move):
                answers[place] = self._holds_for_empty_contact(rule_version)
            else:
                together[self._batch_key(rule_version)].append(place)
        for places in together.values():
            batch = [moves[place] for place in places]
            holding = self._ask(batch, [known[place] for place in places])
            for place, holds in zip(places, holding, strict=True):
                answers[place] = holds
        return answers

    def _batch_key(self, rule_version: RuleVersion) -> object:
        """Return what rules must share to be asked about by one statement."""
        compiled = self._compiled(rule_version)
        return compiled.shape

    def _is_new(self, move: _ChangeCause) -> bool:
        """Whether nothing that the rule could read was known of the contact before."""
        rule, contact_id = move.transition.rule_version.rule, move.transition.contact_id
        created = any(event.name == CONTACT_CREATED for event in move.changes)
        reads_more = rule.reads_contact or rule.reads_score or rule.segment_ids
        return created and not reads_more and contact_id not in self.merged and not move.is_timed

    def _holds_for_empty_contact(self, rule_version: RuleVersion) -> bool:
        if rule_version.version not in self.plan.holds_for_empty_contact:
            nobody = _Row(NO_ID, "{}", self.batch.now, self.batch.now, None, "{}")
            self.plan.holds_for_empty_contact[rule_version.version] = self._execute([rule_version], [nobody])[
                0
            ]
        return self.plan.holds_for_empty_contact[rule_version.version]

    def _score(self, move: _ChangeCause, known: int) -> Decimal | None:
        """Return the score without what the left-out events earned; None: the stored one."""
        transition = move.transition
        earned = sum((move.points.get(event.id, Decimal(0)) for event in move.counted[known:]), Decimal(0))
        if earned and transition.contact_id in self.scores:
            return self.scores[transition.contact_id] - earned
        return self.past.score_at(transition.rule_version, transition.contact_id, transition.at)

    def _ask(self, moves: Sequence[_ChangeCause], known: Sequence[int]) -> list[bool]:
        rows = [
            _Row(
                move.transition.contact_id,
                self.merged.get(move.transition.contact_id) or array([move.transition.contact_id]),
                move.transition.at,
                self._until(move.transition.at),
                self._score(move, number),
                array(event.id for event in move.counted[number:]),
            )
            for move, number in zip(moves, known, strict=True)
        ]
        return self._execute([move.transition.rule_version for move in moves], rows)

    def _execute(self, rule_versions: Sequence[RuleVersion], rows: Sequence[_Row]) -> list[bool]:
        """Return whether the rule of each row holds. The rules must be of one shape."""
        places = {
            rule_version.version: place
            for place, rule_version in enumerate(
                {rule_version.version: rule_version for rule_version in rule_versions}.values(), 1
            )
        }
        compiled = [self._compiled(self.plan.rule_versions[version]) for version in places]
        rules = batch_rules(self.batch.workspace_id, compiled)
        moments, untils = [row.as_of for row in rows], [row.until for row in rows]
        statement = sql(
            _ASK,
            columns=rules.columns,
            matches=compiled[0].matches[0],
            joins=rules.joins,
            contact_ids=array(row.contact_id for row in rows),
            ids=array(row.ids for row in rows),
            moments=array(moments),
            untils=array(untils),
            scores=array_of_decimals(row.score for row in rows),
            unknown=array(row.unknown for row in rows),
            groups=array(places[rule_version.version] for rule_version in rule_versions),
        )
        bound = bound_values(self.batch.workspace_id, min(moments), max(untils))
        holding = {place for (place,) in fetch_all(statement, bound)}
        return [place in holding for place in range(1, len(rows) + 1)]

    def _compiled(self, rule_version: RuleVersion) -> CompiledRules:
        compiled: CompiledRules | None = self.plan.as_if_unknown.get(rule_version.version)
        if compiled is None:
            # Aggregates cannot be read without some of their events.
            compiled = self.plan.as_if_unknown[rule_version.version] = compile_rules(
                [rule_version.rule], as_if_unknown=True
            )
        return compiled

    def _cause(self, move: _ChangeCause) -> EffectEvent | None:
        transition = move.transition
        changes = self._relevant_changes(transition, move.changes)
        segments = [
            cause
            for segment_id in transition.rule_version.rule.segment_ids
            if (cause := self.of_segments.get((segment_id, transition.contact_id))) is not None
        ]
        if move.is_counted:
            # Whoever did something was there before.
            later = [event for event in changes if event.name != CONTACT_CREATED]
            return max([move.counted[move.high - 1], *later, *segments], key=lambda event: event.order)
        last = max([*changes, *segments], key=lambda event: event.order, default=None)
        if last is not None:
            return last
        published = (
            self._published_segment_events(transition) if transition.rule_version.rule.segment_ids else []
        )
        if published or move.is_timed:
            return max(published, key=lambda event: event.order, default=None)
        # Nothing that is known to matter; it is the run itself that was caused by these.
        return max([*move.changes, *move.counted], key=lambda event: event.order, default=None)

    def _published_segment_events(self, transition: Transition) -> list[EffectEvent]:
        """Return the batch's segment events of the contact."""
        if transition.at < self.batch.now:
            return []
        own = self.events.get(transition.contact_id, ())
        return [event for event in own if event.source == "system" and event.name.startswith(SEGMENT_PREFIX)]

    def _relevant_changes(self, transition: Transition, changes: Sequence[EffectEvent]) -> list[EffectEvent]:
        """Return the changes that the rule reads; all if that is not known."""
        leaves = list(transition.rule_version.rule.root.leaves())
        return [
            event
            for event in changes
            if event.name not in CHANGES_CONTACT
            or event.id not in self.changed
            or _matters(self.changed[event.id], leaves)
        ]

    def _merge_of(self, contact_id: UUID) -> EffectEvent | None:
        """Return the merge that made the contact another's; None: it was deleted."""
        survivor = self.survivor_of.get(contact_id)
        merges = (
            [event for event in self.events.get(survivor, ()) if event.name == CONTACT_MERGED]
            if survivor
            else []
        )
        return merges[-1] if merges else None


@dataclass(frozen=True, slots=True)
class _Row:
    """A contact to ask a rule about, its ids and the events to leave out, as array literals.

    `score`: replaces the stored one.
    """

    contact_id: UUID
    ids: str
    as_of: datetime
    until: datetime
    score: Decimal | None
    unknown: str


def _is_contact_event(event: EffectEvent) -> bool:
    return event.source == "system" and event.name.startswith(CONTACT_PREFIX)


def _matters(changed: Mapping[str, Any], leaves: Iterable[Leaf]) -> bool:
    """Return whether a condition reads what was changed."""
    old, new = changed.get("old") or {}, changed.get("new") or {}
    return any(_is_read(leaf, old, new) for leaf in leaves)


def _is_read(leaf: Leaf, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    if isinstance(leaf, TagLeaf):
        return any(leaf.name in (side.get("tags") or ()) for side in (old, new))
    if isinstance(leaf, ChannelLeaf):
        return leaf.channel in (old.get("channel"), new.get("channel"))
    if isinstance(leaf, CompanyLeaf):
        return "company" in new
    if not isinstance(leaf, AttributeLeaf) or leaf.field == "score":
        return False
    if leaf.field.startswith("attributes."):
        key = leaf.field.split(".")[1]
        return any(key in (side.get("attributes") or {}) for side in (old, new))
    key = _KEYS.get(leaf.field, leaf.field)
    return leaf.field == "updatedAt" or key in old or key in new


_KEYS = {"firstName": "first_name", "lastName": "last_name", "externalId": "external_id"}

_WAITING = """
SELECT e.id, w.owner, e.name, e.occurred_at, e.source, e.depth, b.level, e.received_at
FROM (
    SELECT event_ids, level FROM events_eventbatch
    WHERE workspace_id = %s AND lane = ANY(%s) AND NOT is_repeat ORDER BY lane, id LIMIT %s
) b
CROSS JOIN LATERAL unnest(b.event_ids) AS one (id)
CROSS JOIN LATERAL (
    SELECT id, contact_id, name, occurred_at, source, depth, received_at FROM events_event
    WHERE workspace_id = %s AND id = one.id OFFSET 0
) e
JOIN unnest(%s::uuid[], %s::uuid[]) AS w (origin, owner) ON w.origin = e.contact_id
WHERE e.name = ANY(%s)
ORDER BY e.received_at, e.occurred_at, e.id
"""
_ASK = """
SELECT b.place FROM (
    SELECT w.place, w.contact_id, w.ids::uuid[] AS ids, w.as_of, w.until, w.score,
        w.unknown::uuid[] AS unknown{columns}
    FROM unnest({contact_ids:uuid[]}, {ids:text[]}, {moments:timestamptz[]}, {untils:timestamptz[]},
        {scores:numeric[]}, {unknown:text[]}, {groups:int[]})
        WITH ORDINALITY AS w (contact_id, ids, as_of, until, score, unknown, g, place) OFFSET 0
) b
{joins}
WHERE {matches}
"""
