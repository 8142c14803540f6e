"""The SQL says what the reference says: of random people, by random rules, at random moments."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from config.db.sql import join, sql
from config.db.statements import fetch_all
from config.http.rendering import iso_millis
from events.aggregates.registry import build_aggregates, built_aggregates, register_aggregates
from events.effects import maintain_aggregates
from events.errors import InvalidCondition
from events.models import EffectsLevel
from events.processing.passes import EffectBatch, EffectEvent
from events.rules import AggregateSpec, Rule, aggregates_of_rule, explain_contact, parse_rule
from events.rules.compiler import compile_event_rule
from events.rules.conditions import EventConditions
from events.rules.nodes import PropertyLeaf
from events.stream.outbox import LANE_COUNT
from tests.events.rules.reference import (
    MISSING,
    EventRecord,
    Person,
    actual,
    counted,
    event_field,
    holds,
    json_equal,
    next_change,
    parse_moment,
)
from tests.events.rules.strategies import (
    MOMENTS,
    NOW,
    all_time_leaves,
    event_leaves,
    extreme_people,
    moments,
    people,
    person_leaves,
    person_rules,
    spoilt,
    ticking_leaves,
    ticking_rules,
    trees,
    trigger_only_rules,
    triggered_rules,
)
from tests.events.rules.world import Decision, Stored, decide, store_events, stored_world
from tests.scale import scaled
from workspaces.models import Workspace

pytestmark = [pytest.mark.django_db, pytest.mark.slow]


def examples(number: int) -> settings:
    """Return the settings of a test that tries so many examples, half as many in `make test`."""
    return settings(
        max_examples=scaled(number // 2, number),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def read(raw: Any) -> Rule:
    return parse_rule(raw, types=MOMENTS)


times = st.lists(moments(), min_size=3, max_size=6)


@given(people, st.lists(person_leaves, min_size=8, max_size=15), times, st.booleans())
@examples(25)
def test_a_condition_holds_when_the_reference_says_so(some, raws, asked_at, split):
    _check(some, raws, asked_at, split)


@given(people, st.lists(person_rules, min_size=3, max_size=5), times, st.booleans())
@examples(25)
def test_a_tree_holds_when_the_reference_says_so(some, raws, asked_at, split):
    _check(some, raws, asked_at, split)


@given(people, st.lists(ticking_rules, min_size=3, max_size=5), times, st.booleans())
@examples(25)
def test_time_changes_an_answer_when_the_reference_says_so(some, raws, asked_at, split):
    _check(some, raws, asked_at, split)


def _check(some: list[Person], raws: list[Any], asked_at: list[datetime], split: bool) -> None:
    with stored_world(some, split=split) as (workspace, stored):
        asked = [(one, at) for one in stored for at in asked_at]
        answers = decide(workspace, [read(raw) for raw in raws], asked)
    for (one, at), decisions in zip(asked, answers, strict=True):
        for raw, decision in zip(raws, decisions, strict=True):
            _compare(decision, raw, one.person, at)


def _compare(
    decision: Decision, raw: Any, person: Person, at: datetime, trigger: EventRecord | None = None
) -> None:
    expected = holds(raw, person, at, trigger)
    assert decision.holds == expected, (raw, at, person, trigger)
    change = next_change(raw, person, at, trigger)
    if decision.next_at is not None:
        assert decision.next_at > at, (raw, at, person)
    if change is not None:
        assert decision.next_at is not None, (raw, at, change, person)
        assert decision.next_at <= change, (raw, at, change, person)
    event(f"{_answer(expected)}, {_timing(decision, change)}")


@given(people, st.lists(event_leaves, min_size=12, max_size=20), st.booleans(), st.data())
@examples(20)
def test_an_event_counts_at_once_whatever_its_sender_took_for_now(some, raws, split, data):
    """Asked at the very moment of an event, and at no later one: its id may have a later time."""
    happened = [moment for one in some for moment in {event.occurred_at for event in one.events}]
    at = data.draw(st.sampled_from(sorted(happened)) if happened else moments())
    with stored_world(some, split=split) as (workspace, stored):
        asked = [(one, at) for one in stored]
        answers = decide(workspace, [read(raw) for raw in raws], asked)
    for (one, _), decisions in zip(asked, answers, strict=True):
        for raw, decision in zip(raws, decisions, strict=True):
            _compare(decision, raw, one.person, at)


@given(people, st.lists(person_rules | ticking_rules, min_size=2, max_size=6), times)
@examples(15)
def test_rules_decided_together_say_what_each_says_alone(some, raws, asked_at):
    rules = [read(raw) for raw in raws]
    with stored_world(some) as (workspace, stored):
        asked = [(one, at) for one in stored for at in asked_at]
        together = decide(workspace, rules, asked)
        alone = [decide(workspace, [rule], asked) for rule in rules]
    for place, answers in enumerate(together):
        assert answers == [one[place][0] for one in alone]


@given(
    people,
    st.lists(all_time_leaves | trees(all_time_leaves | ticking_leaves), min_size=4, max_size=8),
    st.lists(moments(after=1), min_size=2, max_size=3),
    st.booleans(),
    st.data(),
)
@examples(25)
def test_aggregates_say_what_the_stream_says(some, raws, asked_at, split, data):
    """Some events are there when the measures are built, the others come after, in any order and several at once."""
    rules = [read(raw) for raw in raws]
    later = [replace(person, events=[]) for person in some]
    with stored_world(later, split=split) as (workspace, stored):
        coming = [
            (data.draw(st.sampled_from(one.ids)), happening)
            for one, person in zip(stored, some, strict=True)
            for happening in person.events
        ]
        coming = data.draw(st.permutations(coming))
        there = data.draw(st.integers(0, len(coming)))
        store_events(workspace, coming[:there])
        wanted = frozenset().union(*map(aggregates_of_rule, rules))
        _build(workspace, wanted)
        for chunk in _chunks(coming[there:], data):
            store_events(workspace, chunk)
            maintain_aggregates(_batch(workspace, stored, chunk))
        built = built_aggregates(workspace.id)
        assert built == wanted
        asked = [(one, at) for one in stored for at in asked_at]
        answers = decide(workspace, rules, asked, built=built)
    load_recipients = {one.contact_id: person for one, person in zip(stored, some, strict=True)}
    for (one, at), decisions in zip(asked, answers, strict=True):
        for raw, decision in zip(raws, decisions, strict=True):
            _compare(decision, raw, load_recipients[one.contact_id], at)


def _build(workspace: Workspace, wanted: Collection[AggregateSpec]) -> None:
    register_aggregates(workspace.id, wanted)
    for lane in range(LANE_COUNT):
        build_aggregates(workspace.id, lane, wanted)


def _chunks(
    coming: list[tuple[UUID, EventRecord]], data: st.DataObject
) -> Iterator[list[tuple[UUID, EventRecord]]]:
    while coming:
        size = data.draw(st.integers(1, 6))
        yield coming[:size]
        coming = coming[size:]


def _batch(
    workspace: Workspace, stored: Sequence[Stored], events: Sequence[tuple[UUID, EventRecord]]
) -> EffectBatch:
    survivor_of = {contact_id: one.contact_id for one in stored for contact_id in one.ids}
    rows = [
        EffectEvent(one.id, survivor_of[contact_id], one.name, one.occurred_at, "api", 0, EffectsLevel.ALL)
        for contact_id, one in sorted(events, key=lambda pair: (pair[1].occurred_at, pair[1].id))
    ]
    return EffectBatch(workspace.id, rows, NOW)


@given(people, st.lists(triggered_rules("buy"), min_size=2, max_size=5), times)
@examples(20)
def test_a_rule_about_the_triggering_event_holds_when_the_reference_says_so(some, raws, asked_at):
    rules = [parse_rule(raw, about_event="buy", types=MOMENTS) for raw in raws]
    with stored_world(some) as (workspace, stored):
        asked = [
            (one, at, happening)
            for one in stored
            for happening in one.person.events
            if happening.name == "buy"
            for at in asked_at
        ]
        assume(asked)
        answers = decide(
            workspace,
            rules,
            [(one, at) for one, at, _ in asked],
            triggers=[happening.id for *_, happening in asked],
        )
    for (one, at, happening), decisions in zip(asked, answers, strict=True):
        for raw, decision in zip(raws, decisions, strict=True):
            _compare(decision, raw, one.person, at, happening)


@given(people, st.lists(trigger_only_rules("buy"), min_size=3, max_size=6))
@examples(20)
def test_a_rule_that_the_event_alone_decides_holds_when_the_reference_says_so(some, raws):
    rules = [parse_rule(raw, about_event="buy", types=MOMENTS) for raw in raws]
    conditions = EventConditions()
    compiled = [compile_event_rule(rule, conditions) for rule in rules]
    assert all(rule.reads_only_event for rule in rules)
    with stored_world(some) as (workspace, _):
        statement = sql(
            "SELECT e.id, {} FROM events_event e CROSS JOIN LATERAL (SELECT {}) v WHERE e.workspace_id = {:uuid}",
            join(", ", compiled),
            conditions.columns,
            workspace.id,
        )
        answers = {event_id: found for event_id, *found in fetch_all(statement)}
    happenings = [happening for one in some for happening in one.events if happening.name == "buy"]
    for happening in happenings:
        expected = [holds(raw, Person(), NOW, happening) for raw in raws]
        assert answers[happening.id] == expected, (raws, happening)


@given(people, person_rules | ticking_rules, moments(), st.booleans())
@examples(25)
def test_an_explanation_says_of_each_node_what_the_reference_says(some, raw, at, split):
    rule = read(raw)
    with stored_world(some, split=split) as (workspace, stored):
        for one in stored:
            tree = explain_contact(workspace.id, rule, raw, one.contact_id, at)
            nodes = tree["conditions"] if "conditions" not in raw else [tree]
            _check_explanation(nodes[0], raw, one.person, at)
            assert decide(workspace, [rule], [(one, at)])[0][0].holds == tree["matches"]


def _check_explanation(told: Any, raw: Any, person: Person, at: datetime) -> None:
    assert told["matches"] == holds(raw, person, at), (raw, at, person)
    change = next_change(raw, person, at)
    assert change is None or told["changesAt"] is not None, (raw, at, person)
    if change is not None:
        assert datetime.fromisoformat(told["changesAt"]) <= change, (raw, at, person)
    if "conditions" in raw:
        for told_child, child in zip(told["conditions"], raw["conditions"], strict=True):
            _check_explanation(told_child, child, person, at)
        return
    assert {key: told[key] for key in raw} == raw
    if raw["type"] in ("event", "attribute"):
        seen, expected = told["actual"], actual(raw, person, at)
        assert _alike(seen, expected), (raw, at, person)
    if raw["type"] == "event":
        _check_events(told["events"], raw, person, at)


def _check_events(told: list[Any], raw: Any, person: Person, at: datetime) -> None:
    expected = counted(raw, person, at)[:20]
    assert [one["id"] for one in told] == [str(happening.id) for happening in expected], (raw, at, person)
    for one, happening in zip(told, expected, strict=True):
        assert one["timestamp"] == iso_millis(happening.occurred_at)
        value = event_field(happening, raw["property"]) if "property" in raw else MISSING
        assert _alike(one["value"], value)


def _alike(seen: Any, expected: Any) -> bool:
    """An average has no end, and JSON's numbers here have the digits of a double."""
    if expected is MISSING or seen is None:
        return expected is MISSING and seen is None
    if isinstance(expected, Fraction):
        return seen == pytest.approx(float(expected))
    if parse_moment(expected) is not None:
        return parse_moment(seen) == parse_moment(expected)
    return json_equal(seen, expected)


@given(extreme_people, st.lists(triggered_rules("buy"), min_size=2, max_size=5), times, st.data())
@examples(25)
def test_what_was_read_can_be_run(some, raws, asked_at, data):
    """Whatever else somebody writes into a rule: if it is read, it runs, over whatever people have."""
    rules = [_read_if_sound(spoilt(raw, data)) or _read_about_buying(raw) for raw in raws]
    with stored_world(some) as (workspace, stored):
        asked = [(one, at) for one in stored for at in asked_at]
        triggers = [one.person.events[0].id for one, _ in asked]
        assert len(decide(workspace, rules, asked, triggers=triggers)) == len(asked)
        for rule, raw in zip(rules, raws, strict=True):
            if rule == _read_if_sound(raw) and not _is_about_the_trigger(rule):
                explain_contact(workspace.id, rule, raw, stored[0].contact_id, asked_at[0])


def _read_about_buying(raw: Any) -> Rule:
    return parse_rule(raw, about_event="buy", types=MOMENTS)


def _read_if_sound(raw: Any) -> Rule | None:
    try:
        return _read_about_buying(raw)
    except InvalidCondition:
        return None


def _is_about_the_trigger(rule: Rule) -> bool:
    return any(isinstance(leaf, PropertyLeaf) for leaf in rule.root.leaves())


def _answer(expected: bool) -> str:
    return "holds" if expected else "does not hold"


def _timing(decision: Decision, change: datetime | None) -> str:
    if decision.next_at == change:
        return "changes when told" if change else "stays, as told"
    return "changes later than told" if change else "stays, though told to change"
