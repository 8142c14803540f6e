"""The SQL says what the reference says: of random people, by random rules, at random moments."""

import os
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from events.rules import Rule, read_rule
from tests.rules.reference import Person, holds, next_change
from tests.rules.strategies import MOMENTS, moments, people, person_leaves, person_rules, ticking_rules
from tests.rules.world import Decision, decide, declared, stored_world

pytestmark = pytest.mark.django_db

TIMES = int(os.environ.get("PROOF_TIMES", "1"))
"""How many times the usual number of examples to try."""


def examples(number: int) -> settings:
    """Return the settings of a test that tries so many examples."""
    return settings(
        max_examples=number * TIMES,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def read(raw: Any) -> Rule:
    return read_rule(raw, types=declared(MOMENTS))


times = st.lists(moments(), min_size=3, max_size=6)


@given(people, st.lists(person_leaves, min_size=8, max_size=15), times, st.booleans())
@examples(60)
def test_a_condition_holds_when_the_reference_says_so(some, raws, asked_at, split):
    _check(some, raws, asked_at, split)


@given(people, st.lists(person_rules, min_size=3, max_size=5), times, st.booleans())
@examples(60)
def test_a_tree_holds_when_the_reference_says_so(some, raws, asked_at, split):
    _check(some, raws, asked_at, split)


@given(people, st.lists(ticking_rules, min_size=3, max_size=5), times, st.booleans())
@examples(60)
def test_time_changes_an_answer_when_the_reference_says_so(some, raws, asked_at, split):
    _check(some, raws, asked_at, split)


def _check(some: list[Person], raws: list[Any], asked_at: list[datetime], split: bool) -> None:
    with stored_world(some, split=split) as (workspace, stored):
        asked = [(one, at) for one in stored for at in asked_at]
        answers = decide(workspace, [read(raw) for raw in raws], asked)
    for (one, at), decisions in zip(asked, answers, strict=True):
        for raw, decision in zip(raws, decisions, strict=True):
            _compare(decision, raw, one.person, at)


def _compare(decision: Decision, raw: Any, person: Person, at: datetime) -> None:
    expected = holds(raw, person, at, MOMENTS)
    assert decision.holds == expected, (raw, at, person)
    change = next_change(raw, person, at, MOMENTS)
    if decision.next_at is not None:
        assert decision.next_at > at, (raw, at, person)
    if change is not None:
        assert decision.next_at is not None, (raw, at, change, person)
        assert decision.next_at <= change, (raw, at, change, person)
    event(f"{_answer(expected)}, {_timing(decision, change)}")


def _answer(expected: bool) -> str:
    return "holds" if expected else "does not hold"


def _timing(decision: Decision, change: datetime | None) -> str:
    if decision.next_at == change:
        return "changes when told" if change else "stays, as told"
    return "changes later than told" if change else "stays, though told to change"
