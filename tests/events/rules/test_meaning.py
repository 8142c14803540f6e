"""Cases that the random ones meet too seldom, and cases at the limits."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from config.ids import keyed_id
from events.rules import aggregates_of_rule, compile_rules, parse_rule
from events.rules.parser import MAX_LEAVES
from tests.events.rules.reference import TICK, EventRecord, Person
from tests.events.rules.strategies import MOMENTS, NOW
from tests.events.rules.world import Decision, decide, stored_world
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)


def bought(days_ago: float, **properties: Any) -> EventRecord:
    at = NOW - days_ago * DAY
    key = f"{days_ago} {properties}"
    return EventRecord(keyed_id(WorkspaceFactory.build().id, key, at), "buy", at, properties)


def decided(person: Person, *raws: Any, at: Any = NOW) -> list[Decision]:
    with stored_world([person]) as (workspace, stored):
        rules = [parse_rule(raw, types=MOMENTS) for raw in raws]
        return decide(workspace, rules, [(stored[0], at)])[0]


def held(person: Person, *raws: Any) -> list[bool]:
    return [decision.holds for decision in decided(person, *raws)]


def buys(**rest: Any) -> dict[str, Any]:
    return {"type": "event", "eventType": "buy", **rest}


def test_an_event_lapses_exactly_when_its_window_has_passed():
    rule = buys(timeWindow="7d", operator="gte", value=2)
    person = Person(events=[bought(1), bought(7 - 1e-6), bought(3)])
    (before,) = decided(person, rule, at=NOW)
    assert before == Decision(True, NOW + 4 * DAY)
    assert decided(person, rule, at=NOW + 4 * DAY - TICK)[0].holds
    assert decided(person, rule, at=NOW + 4 * DAY)[0] == Decision(False, None)


def test_what_another_condition_sorts_by_does_not_move_the_lapse():
    """DISTINCT sorts what it is given, and PostgreSQL gives the same rows to all aggregates of a select."""
    rules = [
        buys(aggregate="distinct", property="metadata.sku", timeWindow="30d", operator="gte", value=1),
        buys(timeWindow="7d", operator="gte", value=2),
        buys(aggregate="last", property="metadata.sku", operator="eq", value="b"),
    ]
    events = [bought(6, sku="c"), bought(1, sku="b"), bought(3, sku="a")]
    _, count, last = decided(Person(events=events), *rules)
    assert count.next_at == NOW + 4 * DAY
    assert last.holds


def test_true_is_not_one_where_two_measures_are_read_together():
    rules = [
        parse_rule(buys(filters={"field": "metadata.gift", "operator": "eq", "value": value}))
        for value in (1, True, 1.0)
    ]
    one, true, also_one = (aggregates_of_rule(rule) for rule in rules)
    assert one != true
    assert one == also_one
    assert compile_rules(rules, built=one).joins.render().text.count("events_event ") == 1


def test_what_changes_after_the_last_year_of_python_never_does():
    person = Person(attributes={"due": "9999-12-31"})
    rule = {"type": "attribute", "field": "attributes.due", "operator": "before", "value": "-3660d"}
    assert decided(person, rule) == [Decision(False, None)]


def test_a_person_without_a_company_lacks_what_companies_have():
    industry = {"type": "company", "field": "industry"}
    rules = [
        {"type": "company"},
        {"type": "company", "operator": "not_exists"},
        {**industry, "operator": "not_exists"},
        {**industry, "operator": "neq", "value": "Bank"},
        {**industry, "operator": "neq", "value": "Bank", "whenMissing": True},
    ]
    assert held(Person(), *rules) == [False, True, True, False, True]
    at_bank = {"name": "A", "industry": "Bank"}
    assert held(Person(companies=[at_bank]), *rules) == [True, False, False, False, False]
    assert held(Person(companies=[at_bank, {"name": "B"}]), *rules) == [True, False, False, False, True]
    elsewhere = {"name": "B", "industry": "Farm"}
    assert held(Person(companies=[at_bank, elsewhere]), *rules) == [True, False, False, True, True]


def test_dates_are_equal_however_they_are_spelled():
    person = Person(
        attributes={"due": "2026-03-01T02:00:00+02:00"}, events=[bought(1, due="2026-03-01T00:00:00.000Z")]
    )
    due = {"type": "attribute", "field": "attributes.due"}
    rules = [
        {**due, "operator": "eq", "value": "2026-03-01"},
        {**due, "operator": "not_in", "value": ["2026-03-01", "2026-03-02"]},
        {**due, "operator": "neq", "value": "2026-03-02"},
        buys(aggregate="last", property="metadata.due", operator="eq", value="2026-03-01"),
        buys(filters={"field": "metadata.due", "operator": "in", "value": ["2026-03-01"]}),
    ]
    assert held(person, *rules) == [True, False, True, True, True]
    nonsense = replace(person, attributes={"due": "soon"})
    assert held(nonsense, *rules[:3]) == [False, True, True]


@pytest.mark.very_long_rules
def test_several_full_rules_are_decided_together():
    """PostgreSQL's select has at most 1,664 columns; these rules need thousands."""
    leaves = [
        [
            buys(timeWindow=f"{number + 1}h", operator="gte", value=1),
            {"type": "attribute", "field": f"attributes.a{number}", "operator": "not_exists"},
            buys(filters={"field": f"metadata.a{number}", "operator": "not_exists"}),
            {"operator": "NOT", "conditions": [{"type": "tag", "value": f"a{number}"}]},
        ]
        for number in range(600)
    ]
    flat = [leaf for four in leaves for leaf in four]
    # A filter counts as a condition, too.
    each = MAX_LEAVES * 4 // 5
    raws = [
        {"operator": "AND", "conditions": flat[start : start + each]} for start in range(0, len(flat), each)
    ]
    answers = decided(Person(events=[bought(1 / 48)]), *raws)
    assert len(answers) == 30
    assert all(answer.holds for answer in answers)
    assert answers[0].next_at == NOW + timedelta(minutes=30)
    assert answers[1].next_at == NOW + timedelta(hours=20.5)
