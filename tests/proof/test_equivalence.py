"""What is kept up to date event by event is what a full recompute says: of random lives, at every step.

Segments (also on segments, on lists and on the score), scoring rules with decay, bounds and limits; events that come
in any order, late and more than once, in batches of any size; contacts, rules and the clock that change in between;
builds and re-scorings that stand still half done. `PROOF_TIMES` multiplies the number of lives.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial, wraps
from threading import Thread
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import F, Q
from django.test import override_settings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from config import clock
from contacts.crud import create_contact, set_consent, untag_contact, update_contact
from contacts.models import Contact, ContactScore
from contacts.references import ContactChanges, ContactReference
from events.errors import InvalidCondition
from events.models import Aggregate, ParkedEffect
from events.processing.passes import apply_effects
from events.rules import parse_rule
from events.rules.parser import DeclaredTypes
from events.stream.outbox import LANE_COUNT, lane_of
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoringRule
from scoring.rescoring import rescore_lane
from scoring.rules import delete_rule, save_rule
from segments.build import BUILDS, PUBLICATIONS
from segments.definitions import create_segment, delete_segment, rebuild_segment, update_segment
from segments.errors import SegmentInUse
from segments.models import Membership, MembershipPeriod, Segment
from segments.static_members import add_members, remove_members
from segments.verification import verify_segments
from tests.contacts.factories import tag_contact
from tests.events.rules.reference import EventRecord, Person, holds, next_change
from tests.events.rules.strategies import (
    AHEAD,
    EVENT_NAMES,
    NOW,
    STEP,
    TAGS,
    all_time_leaves,
    attribute_leaves,
    contact_leaves,
    event_leaves,
    score_leaves,
    segment_leaves,
    ticking_leaves,
    trees,
    triggered_rules,
    values,
)
from tests.scale import scaled
from tests.scoring.reference import value_of
from tests.segments.factories import VirtualClock
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import Workspace

_time = VirtualClock(NOW)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_what_is_kept_is_what_a_recompute_says(monkeypatch):
    monkeypatch.setattr(clock, "now", _time.now)
    run_state_machine_as_test(
        Mill,
        settings=settings(
            max_examples=scaled(3, 6),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@dataclass
class Life:
    """A contact as this test knows it."""

    contact: Contact
    person: Person
    # Those that no effect has seen yet, and when each was received.
    waiting: list[EventRecord] = field(default_factory=list)
    received: dict[UUID, datetime] = field(default_factory=dict)

    @property
    def lane(self) -> int:
        """The lane of the contact."""
        return lane_of(self.contact.id)


def step(**given: st.SearchStrategy[Any]) -> Callable[[Any], Any]:
    """Make a rule of an action: after it, time may pass, and the effects may be worked off, or both."""

    def decorate(action: Callable[..., None]) -> Any:
        @wraps(action)
        def act(self: Any, data: Any, turn: Sequence[str], **arguments: Any) -> None:
            action(self, data, **arguments)
            for move in turn:
                getattr(self, move)(data)

        return rule(data=st.data(), turn=st.sampled_from(_TURNS), **given)(act)

    return decorate


_TURNS = [(), ("drain",), ("drain", "go", "drain"), ("go", "drain"), ("drain", "go", "drain", "go")]


class Mill(RuleBasedStateMachine):
    """A workspace, turned by hand."""

    def __init__(self) -> None:
        super().__init__()
        _time.moment = NOW
        _forget_everything()
        # Another one than in the life before, of which processes remember something.
        self.workspace = WorkspaceFactory.create(id=UUID(bytes=os.urandom(16)))
        self.lives: list[Life] = []
        # By rule, then by event: what it earned.
        self.awards: dict[UUID, dict[UUID, Decimal]] = {}
        self.sent = 0
        self.told: list[tuple[Life, IncomingEvent]] = []
        self.segments: list[UUID] = []
        self.lists: list[UUID] = []
        self.scoring_rules: list[UUID] = []
        self.is_settled = False
        # When all was settled last, and nothing but time has passed since.
        self.quiet_since: datetime | None = None

    # What happens -----------------------------------------------------------------------------------------------

    @initialize(data=st.data())
    def begin(self, data):
        """Two contacts, and some rules that all are ready."""
        self._come(data)
        self._come(data)
        for _ in range(3):
            self._make_segment(data)
        for _ in range(2):
            self._make_scoring_rule(data)
        for _ in range(3):
            self._send(data, late=True)
        self._catch_up()

    @precondition(lambda self: len(self.lives) < 4)
    @step()
    def come(self, data):
        self._come(data)

    def _come(self, data) -> None:
        self._stir()
        attributes = data.draw(
            st.dictionaries(st.sampled_from(["plan", "due"]), values.filter(_is_something))
        )
        contact = create_contact(self.workspace, ContactChanges(attributes=attributes))
        person = Person(attributes=attributes, created_at=_time.now(), updated_at=_time.now())
        self.lives.append(Life(contact, person))

    @step(late=st.booleans())
    def send(self, data, late):
        self._send(data, late)

    def _send(self, data, late) -> None:
        """Some events in one call; their times are in no order."""
        self._stir()
        incoming, lives = [], []
        for _ in range(data.draw(st.integers(3, 6))):
            lives.append(data.draw(st.sampled_from(self.lives)))
            incoming.append(self._event(data, lives[-1], late))
        if self.told and data.draw(st.booleans()):
            # A sender that had no answer says it again, long after its clock was ahead of ours.
            again = data.draw(st.sampled_from(self.told))
            lives.append(again[0])
            incoming.append(again[1])
        self.told += zip(lives, incoming, strict=True)
        if data.draw(st.booleans()):
            lives.append(lives[0])
            incoming.append(incoming[0])
        outcomes = record_events(self.workspace.id, incoming, schema_policy=SchemaPolicy.OPEN)
        for life, outcome in zip(lives, outcomes, strict=True):
            assert outcome.status != "refused", outcome.error
            if outcome.status == "recorded":
                self._note(life, outcome.event)

    def _event(self, data, life, late):
        age = data.draw(st.integers(0, 30)) * STEP if late else timedelta(seconds=-data.draw(AHEAD))
        self.sent += 1
        return IncomingEvent(
            data.draw(st.sampled_from(EVENT_NAMES)),
            ContactReference(id=str(life.contact.id)),
            data.draw(st.sampled_from(_PROPERTIES)),
            occurred_at=_time.now() - age,
            message_id=str(self.sent),
        )

    def _note(self, life, event):
        happening = EventRecord(event.id, event.name, event.occurred_at, event.properties, event.context)
        life.person = replace(life.person, events=[*life.person.events, happening])
        life.waiting.append(happening)
        life.received[event.id] = event.received_at

    @step(what=st.sampled_from(["attribute", "tag", "consent"]))
    def change_contact(self, data, what):
        life = self._somebody(data)
        {"attribute": self._set_attribute, "tag": self._set_tag, "consent": self._set_consent}[what](
            life, data
        )
        row = Contact.objects.get(id=life.contact.id)
        life.person = replace(life.person, attributes=row.attributes, updated_at=row.updated_at)

    def _set_attribute(self, life, data) -> None:
        key = data.draw(st.sampled_from(["plan", "plan", "due", "deep", "items"]))
        update_contact(self.workspace.id, life.contact, ContactChanges(attributes={key: data.draw(_plans)}))

    def _set_tag(self, life, data) -> None:
        tag, is_on = data.draw(st.sampled_from(TAGS)), data.draw(st.booleans())
        (tag_contact if is_on else untag_contact)(self.workspace.id, life.contact, tag)
        tags = life.person.tags | {tag} if is_on else life.person.tags - {tag}
        life.person = replace(life.person, tags=frozenset(tags))

    def _set_consent(self, life, data) -> None:
        channel = data.draw(st.sampled_from(["email", "sms"]))
        status = data.draw(st.sampled_from(["opted_in", "opted_out"]))
        set_consent(self.workspace.id, life.contact, channel, status)
        life.person = replace(life.person, consents={**life.person.consents, channel: status})

    def _somebody(self, data) -> Life:
        self._stir()
        life: Life = data.draw(st.sampled_from(self.lives))
        return life

    def go(self, data) -> None:
        """Let time pass; nobody looks at what falls due."""
        self.is_settled = False
        ticks = data.draw(st.sampled_from([0, 0, 0, 1, -1])) * timedelta(microseconds=1)
        _time.moment += data.draw(st.integers(1, 12)) * STEP + ticks

    # Segments ---------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.segments) < 5)
    @step()
    def make_segment(self, data):
        self._make_segment(data)

    def _make_segment(self, data) -> None:
        self._stir()
        raw = data.draw(self._rules(self.segments))
        self.sent += 1
        self.segments.append(create_segment(self.workspace.id, name=str(self.sent), raw=raw).id)

    @step(is_in=st.booleans())
    def set_member(self, data, is_in):
        """Put somebody on a list, or take somebody off it; there is one when it is first needed."""
        life = self._somebody(data)
        if not self.lists:
            self.lists.append(create_segment(self.workspace.id, name="list", evaluation="STATIC").id)
        change = add_members if is_in else remove_members
        listed = Segment.objects.get(id=self.lists[0])
        change(self.workspace.id, listed, contact_ids=[life.contact.id])
        life.person = replace(life.person, segments=frozenset({str(listed.id)} if is_in else ()))

    @precondition(lambda self: self.segments)
    @step(what=st.sampled_from(["edit", "edit", "rebuild", "delete"]))
    def change_segment(self, data, what):
        self._stir()
        place = data.draw(st.integers(0, len(self.segments) - 1))
        segment = Segment.objects.get(id=self.segments[place])
        if what == "edit":
            raw = data.draw(self._rules(self.segments[:place]))
            update_segment(self.workspace.id, segment, raw=raw)
        elif what == "rebuild":
            rebuild_segment(self.workspace.id, segment)
        else:
            with suppress(SegmentInUse):
                delete_segment(self.workspace.id, segment)
                del self.segments[place]

    @step(is_all=st.booleans())
    def work_on_some_lanes(self, data, is_all):
        """Builds and re-scorings get on, and perhaps stand still half done."""
        self._stir()
        lanes = range(LANE_COUNT) if is_all else {data.draw(st.sampled_from(self.lives)).lane}
        self._build(lanes)
        self._rescore(lanes)

    def _catch_up(self) -> None:
        """All that is to be built or re-scored is, and all that follows from it."""
        self._stir()
        for _ in range(2):
            self._build(range(LANE_COUNT))
            self._rescore(range(LANE_COUNT))
            self._drain(1, 2000)
        assert not self._unfinished_segments().exists()
        assert not self._known_rules().rescoring().exists()

    def _build(self, lanes) -> None:
        self._skip_empty_lanes()
        for segment in self._unfinished_segments():
            for work in (BUILDS, PUBLICATIONS):
                for lane in lanes:
                    assert work.run_lane(self.workspace.id, segment.id, lane)

    def _skip_empty_lanes(self) -> None:
        """Take the lanes in which nobody is as done: they would be, after most of the time of this test."""
        inhabited = sum(1 << lane for lane in {life.lane for life in self.lives})
        empty = (1 << LANE_COUNT) - 1 - inhabited
        Aggregate.objects.filter(workspace=self.workspace).update(lanes_built=F("lanes_built").bitor(empty))

    def _unfinished_segments(self):
        return self._segments().filter(Q(build="running") | Q(publishing_since__isnull=False))

    def _segments(self):
        return Segment.objects.filter(workspace=self.workspace).order_by("id")

    def _rules(self, others) -> st.SearchStrategy[Any]:
        leaves = [*[_common] * 4, _score, *_SELDOM]
        if ids := [str(one) for one in (*others, *self.lists)]:
            leaves += [segment_leaves(ids)] * 2
        return trees(st.one_of(leaves), max_leaves=4).filter(_can_be_saved)

    # Scores -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.scoring_rules) < 4)
    @step()
    def make_scoring_rule(self, data):
        self._make_scoring_rule(data)

    def _make_scoring_rule(self, data) -> None:
        self._stir()
        name = data.draw(st.sampled_from(EVENT_NAMES))
        scoring_rule = ScoringRule(workspace=self.workspace, name="rule", event_name=name)
        values_ = {"condition": data.draw(_conditions(name)), **data.draw(_terms)}
        saved = save_rule(
            scoring_rule, points=data.draw(_points), rescore=data.draw(st.booleans()), **values_
        )
        self.awards[saved.id] = {}
        self.scoring_rules.append(saved.id)

    @precondition(lambda self: self.scoring_rules)
    @step(what=st.sampled_from(["edit", "edit", "edit", "delete"]))
    def change_scoring_rule(self, data, what):
        self._stir()
        scoring_rule = ScoringRule.objects.get(id=data.draw(st.sampled_from(self.scoring_rules)))
        if what == "delete":
            delete_rule(scoring_rule)
            self.scoring_rules.remove(scoring_rule.id)
            return
        changes = data.draw(
            st.one_of(
                _terms,
                st.fixed_dictionaries({"points": _points}),
                st.fixed_dictionaries({"active": st.booleans()}),
                st.fixed_dictionaries({"condition": _conditions(scoring_rule.event_name)}),
            )
        )
        save_rule(scoring_rule, rescore=data.draw(st.booleans()), **changes)

    def _rescore(self, lanes) -> None:
        for scoring_rule in self._known_rules().rescoring():
            for lane in lanes:
                if scoring_rule.rescore_lanes_done >> lane & 1:
                    continue
                if scoring_rule.rescore_reevaluates and scoring_rule.deleted_at is None:
                    for life in self.lives:
                        if life.lane == lane:
                            self._reevaluate(scoring_rule, life)
                rescore_lane(self.workspace.id, scoring_rule.id, lane)

    def _reevaluate(self, scoring_rule: ScoringRule, life: Life) -> None:
        """A re-scoring evaluates all events, and drops what the rule would not give any more."""
        awards = self.awards[scoring_rule.id]
        for happening in life.person.events:
            if happening.name == scoring_rule.event_name:
                awards.pop(happening.id, None)
                self._award(scoring_rule, life, happening)

    def _award(self, scoring_rule: ScoringRule, life: Life, happening: EventRecord) -> None:
        earns = scoring_rule.condition is None or holds(
            scoring_rule.condition, life.person, happening.occurred_at, happening
        )
        if scoring_rule.active and earns:
            self.awards[scoring_rule.id].setdefault(happening.id, scoring_rule.points)

    def _rules_of_scores(self):
        return ScoringRule.objects.filter(workspace=self.workspace).order_by("id")

    def _known_rules(self):
        return ScoringRule.with_deleted.in_workspace(self.workspace.id).order_by("id")

    # Effects ----------------------------------------------------------------------------------------------------

    def drain(self, data) -> None:
        """Work off all that waits and all that is due, in batches of any size, by one worker or by two."""
        workers, size = data.draw(st.sampled_from([(1, 2000), (1, 2000), (1, 1), (1, 3), (2, 3)]))
        self._drain(workers, size)

    def _drain(self, workers: int, size: int) -> None:
        self._expect_awards()
        with override_settings(EFFECTS_BATCH_SIZE=size):
            if workers == 2:
                _at_once(self.workspace.id)
            apply_effects(self.workspace.id)
        self.is_settled = True
        self._check_stays()
        self.quiet_since = _time.now()

    def _expect_awards(self) -> None:
        rules = list(self._rules_of_scores())
        for life in self.lives:
            waiting, life.waiting = life.waiting, []
            for happening in waiting:
                for scoring_rule in rules:
                    if scoring_rule.event_name == happening.name and _is_evaluated(
                        scoring_rule, life.received[happening.id]
                    ):
                        self._award(scoring_rule, life, happening)

    def _stir(self) -> None:
        self.is_settled = False
        self.quiet_since = None

    # What must be -----------------------------------------------------------------------------------------------

    @invariant()
    def nothing_was_set_aside(self):
        parked = list(ParkedEffect.objects.filter(workspace=self.workspace).values_list("subject", "error"))
        assert not parked, parked
        failed = self._segments().exclude(error="").values_list("error", flat=True)
        assert not list(failed), list(failed)

    @invariant()
    def scores_are_right(self):
        if not self.is_settled or self._known_rules().rescoring().exists():
            return
        stored = self._stored_scores()
        for life in self.lives:
            assert stored.get(life.contact.id, Decimal(0)) == self._score(life), life

    def _stored_scores(self) -> dict[UUID, Decimal]:
        return dict(ContactScore.objects.filter(workspace=self.workspace).values_list("contact_id", "points"))

    def _score(self, life: Life) -> Decimal:
        total = Decimal(0)
        for scoring_rule in self._known_rules():
            awards = [
                (happening.occurred_at, happening.id, self.awards[scoring_rule.id][happening.id])
                for happening in life.person.events
                if happening.id in self.awards[scoring_rule.id]
            ]
            total += value_of(scoring_rule, awards, _time.now())
        return total

    @invariant()
    def memberships_are_right(self):
        if not self.is_settled:
            return
        book = _Book(self._segments())
        scores = self._stored_scores()
        for segment in book.evaluated:
            for raw, version, lanes in book.versions(segment):
                members = self._members(version)
                for life in self.lives:
                    if lanes >> life.lane & 1:
                        person = replace(life.person, score=scores.get(life.contact.id, Decimal(0)))
                        expected = holds(book.inlined(raw), person, _time.now())
                        assert (life.contact.id in members) == expected, (raw, person)

    def _members(self, version: UUID) -> set[UUID]:
        rows = Membership.objects.filter(workspace=self.workspace, version=version)
        return set(rows.values_list("contact_id", flat=True))

    @invariant()
    def who_is_in_has_an_open_stay(self):
        if not self.is_settled:
            return
        for segment in self._segments().filter(publishing_since=None):
            open_stays = MembershipPeriod.objects.filter(
                workspace=self.workspace, segment=segment, left_at=None
            )
            assert set(open_stays.values_list("contact_id", flat=True)) == self._members(segment.version)

    def _check_stays(self) -> None:
        """Where nothing but time has passed, stays began and ended at the very moments, however late one looked."""
        start, now = self.quiet_since, _time.now()
        if start is None or start == now:
            return
        book = _Book(self._segments())
        for segment in book.evaluated:
            raw = book.inlined(segment.rule)
            if segment.rule is None or _reads_score(raw):
                continue
            for life in self.lives:
                expected = list(_changes(raw, life.person, start, now))
                rows = MembershipPeriod.objects.filter(
                    workspace=self.workspace, segment=segment, contact=life.contact
                )
                seen = sorted(
                    moment
                    for pair in rows.values_list("entered_at", "left_at")
                    for moment in pair
                    if moment is not None and start < moment <= now
                )
                assert seen == expected, (segment.rule, life.person, start, now)

    def teardown(self) -> None:
        if self.lives:
            self._catch_up()
            self.scores_are_right()
            self.memberships_are_right()
            self.who_is_in_has_an_open_stay()
            assert verify_segments(self.workspace.id).is_sound


class _Book:
    """The rules of the segments, with those that they build on written into them."""

    def __init__(self, segments) -> None:
        self.segments = {str(segment.id): segment for segment in segments}

    @property
    def evaluated(self) -> list[Segment]:
        """The dynamic segments that build on nothing whose change is still to be told."""
        return [
            segment
            for segment in self.segments.values()
            if not segment.is_static
            and not any(
                self.segments[one].publishing_since
                for raw in (segment.rule, segment.draft_rule)
                for one in self._below(raw)
            )
        ]

    def versions(self, segment: Segment) -> Iterator[tuple[Any, UUID, int]]:
        """Yield the rules of a segment, their versions and the lanes in which each is up to date."""
        everywhere = (1 << LANE_COUNT) - 1
        if segment.rule is not None:
            yield segment.rule, segment.version, everywhere
        if segment.draft_version is not None:
            yield segment.draft_rule, segment.draft_version, segment.build_lanes_done

    def inlined(self, raw: Any) -> Any:
        """Return the rule with other segments' own in their place; nobody is in one that was never published."""
        if raw is None:
            return _NEVER
        if "conditions" in raw:
            return {**raw, "conditions": [self.inlined(child) for child in raw["conditions"]]}
        if raw["type"] != "segment" or self.segments[raw["segmentId"]].is_static:
            return raw
        below = self.inlined(self.segments[raw["segmentId"]].rule)
        operator = "AND" if raw.get("operator", "in") == "in" else "NOT"
        return {"operator": operator, "conditions": [below]}

    def _below(self, raw: Any) -> Iterator[str]:
        if raw is None:
            return
        for child in raw.get("conditions", ()):
            yield from self._below(child)
        if raw.get("type") == "segment":
            yield raw["segmentId"]
            yield from self._below(self.segments[raw["segmentId"]].rule)


_NEVER: Any = {"operator": "OR", "conditions": []}


def _reads_score(raw: Any) -> bool:
    return raw.get("field") == "score" or any(map(_reads_score, raw.get("conditions", ())))


def _changes(raw: Any, person: Person, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the moments at which time alone changes the answer."""
    moment = next_change(raw, person, start)
    while moment is not None and moment <= end:
        yield moment
        moment = next_change(raw, person, moment)


def _is_evaluated(scoring_rule: ScoringRule, received_at: datetime) -> bool:
    """Whatever the rule's edits, an event is the rule's that is there when it comes through the effects."""
    if scoring_rule.effective_from is None:
        return True
    return received_at >= min(scoring_rule.created_at, scoring_rule.effective_from)


def _forget_everything() -> None:
    """Leave no row of the life before: hypothesis makes chance repeat itself, and with it the ids."""
    tables = [
        model._meta.db_table
        for model in apps.get_models()
        if hasattr(model, "workspace_id") or model is Workspace
    ]
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        for table in tables:
            cursor.execute(f"DELETE FROM {table}")
        cursor.execute("SET session_replication_role = DEFAULT")


def _at_once(workspace_id: UUID) -> None:
    """Let two workers at it at the same time."""

    def work() -> None:
        try:
            apply_effects(workspace_id)
        finally:
            connection.close()

    workers = [Thread(target=work) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _is_something(value: Any) -> bool:
    return value is not None


def _leaf(**parts: Any) -> st.SearchStrategy[Any]:
    """A condition; what is no strategy is as it is."""
    return st.fixed_dictionaries(
        {name: part if isinstance(part, st.SearchStrategy) else st.just(part) for name, part in parts.items()}
    )


_ORDER = st.sampled_from(["gte", "lt", "eq"])
_WINDOW = st.sampled_from(["6h", "1d", "36h", "3d", "1w"])
_NUMBER = st.integers(1, 4)
_EVENT = {"type": "event", "eventType": st.sampled_from(EVENT_NAMES)}
_SUM = {**_EVENT, "aggregate": "sum", "property": "metadata.amount", "operator": _ORDER, "value": _NUMBER}
# What most of the rules of most people are made of, so that answers change often …
_common = st.one_of(
    _leaf(**_EVENT, timeWindow=_WINDOW, operator=_ORDER, value=_NUMBER),
    _leaf(**_EVENT, operator=_ORDER, value=_NUMBER),
    _leaf(**_SUM, timeWindow=_WINDOW),
    _leaf(**_SUM),
    _leaf(**_EVENT, aggregate="last", operator="within", value=_WINDOW),
    _leaf(type="attribute", field="attributes.plan", operator=st.sampled_from(["eq", "neq"]), value="a"),
    _leaf(type="attribute", field="createdAt", operator="within", value=_WINDOW),
    contact_leaves,
)
_score = _leaf(type="attribute", field="score", operator=_ORDER, value=_NUMBER)
# … and what else the language has.


def _can_be_saved(raw: Any, about_event: str | None = None) -> bool:
    """Tell whether a rule is taken: one of an address that nobody can have is not."""
    try:
        parse_rule(raw, about_event=about_event, types=DeclaredTypes(are_known=True))
    except InvalidCondition:
        return False
    return True


_attributes = attribute_leaves.filter(_can_be_saved)
_SELDOM = (ticking_leaves, all_time_leaves, event_leaves, _attributes, score_leaves)
_PROPERTIES: list[dict[str, Any]] = [
    *({"amount": amount} for amount in (0, 1, 1, 2, 3, 1.5, -1)),
    *({"amount": 1, "sku": sku} for sku in ("a", "b", "a", 10, None, True, ["a", 1])),
    *({"amount": "1", "due": due} for due in ("2026-03-16", "2026-03-15T12:00:00.000001+00:00", "soon")),
    {"amount": None, "when": "2026-03-14T06:00:00Z", "deep": {"n": 2}, "items": [1, "a", {"n": 1}]},
    {"deep": {"n": {"m": 1}}, "items": []},
    {},
]
_plans = st.sampled_from(["a", "b"]) | values


def _conditions(event_name: str) -> st.SearchStrategy[Any]:
    own = _leaf(field="metadata.amount", operator=_ORDER, value=_NUMBER)
    rules = triggered_rules(event_name, _common | _attributes)
    return st.one_of(st.none(), own, own, rules.filter(partial(_can_be_saved, about_event=event_name)))


_points = st.sampled_from([Decimal(number) for number in (-3, 1, 2, 5, "0.5")])
_terms = st.builds(
    lambda decay, bounds, limit: {**decay, **bounds, **limit},
    st.sampled_from(
        [
            {"decay_points": None, "decay_days": None},
            {"decay_points": Decimal(1), "decay_days": 1},
            {"decay_points": Decimal("2.5"), "decay_days": 2},
        ]
    ),
    st.sampled_from(
        [
            {"min_score": None, "max_score": None},
            {"min_score": Decimal(-2), "max_score": Decimal(6)},
            {"min_score": None, "max_score": Decimal(4)},
            {"min_score": Decimal(1), "max_score": None},
        ]
    ),
    st.sampled_from(
        [
            {"limit_count": None, "limit_period": "ever"},
            {"limit_count": 1, "limit_period": "day"},
            {"limit_count": 2, "limit_period": "week"},
            {"limit_count": 2, "limit_period": "ever"},
        ]
    ),
)
