"""What means something is read; what cannot is refused, with the path of the fault, and in no other way."""

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contacts.profiles.fields import create_field
from events.errors import InvalidCondition
from events.models import EventProperty
from events.rules import parse_rule
from events.rules.nodes import Comparison, EventLeaf, Group, PropertyLeaf, written
from events.rules.parser import MAX_DEPTH, MAX_LEAVES, DeclaredTypes, declared_types
from events.stream.definitions import PropertySpec, create_definition
from tests.events.rules.strategies import (
    MOMENTS,
    anything,
    person_rules,
    spoilt,
    trigger_only_rules,
    triggered_rules,
)
from tests.workspaces.factories import WorkspaceFactory

TYPES = DeclaredTypes(
    {("buy", "amount"): "number", ("buy", "gift"): "boolean", ("buy", "due"): "moment"},
    {"age": "number", "born": "moment", "vip": "boolean"},
)
BUY = {"type": "event", "eventType": "buy"}
TAG = {"type": "tag", "value": "vip"}
PLAN = {"type": "attribute", "field": "attributes.plan"}
AND = {"operator": "AND"}
COMPANY = {"type": "company"}
NESTED_TOO_DEEP: Any = TAG
for _ in range(MAX_DEPTH + 1):
    NESTED_TOO_DEEP = {"operator": "NOT", "conditions": [NESTED_TOO_DEEP]}
FILTERS_IN_FILTERS: Any = BUY
for _ in range(60):
    FILTERS_IN_FILTERS = {**BUY, "filters": [FILTERS_IN_FILTERS]}

REFUSED = [
    # The tree.
    (None, ""),
    ([], ""),
    ("tag", ""),
    (7, ""),
    ({}, "type"),
    ({"type": None}, "type"),
    ({"type": ["tag"]}, "type"),
    ({"type": "property", "field": "metadata.a", "operator": "exists"}, "type"),
    ({"conditions": [TAG]}, "operator"),
    ({"operator": "XOR", "conditions": [TAG]}, "operator"),
    ({"operator": ["AND"], "conditions": [TAG]}, "operator"),
    ({"operator": "and", "conditions": [TAG]}, "operator"),
    ({**AND, "conditions": []}, "conditions"),
    ({**AND, "conditions": TAG}, "conditions"),
    ({**AND, "conditions": None}, "conditions"),
    ({**AND, "conditions": [TAG], "type": "tag"}, "type"),
    ({**AND, "conditions": [TAG, 1]}, "conditions[1]"),
    (
        {**AND, "conditions": [TAG, {"operator": "OR", "conditions": [{}]}]},
        "conditions[1].conditions[0].type",
    ),
    (NESTED_TOO_DEEP, ".".join(["conditions[0]"] * MAX_DEPTH)),
    ({**AND, "conditions": [TAG] * (MAX_LEAVES + 1)}, f"conditions[{MAX_LEAVES}]"),
    # Comparisons.
    ({**PLAN}, "operator"),
    ({**PLAN, "operator": "like", "value": "a"}, "operator"),
    ({**PLAN, "operator": ["eq"], "value": "a"}, "operator"),
    ({**PLAN, "operator": "eq"}, "value"),
    ({**PLAN, "operator": "eq", "value": None}, "value"),
    ({**PLAN, "operator": "eq", "value": ["a"]}, "value"),
    ({**PLAN, "operator": "eq", "value": {}}, "value"),
    ({**PLAN, "operator": "gt", "value": True}, "value"),
    ({**PLAN, "operator": "in", "value": "a"}, "value"),
    ({**PLAN, "operator": "in", "value": []}, "value"),
    ({**PLAN, "operator": "in", "value": [["a"]]}, "value"),
    ({**PLAN, "operator": "in", "value": [1] * 1_001}, "value"),
    ({**PLAN, "operator": "between", "value": [1]}, "value"),
    ({**PLAN, "operator": "between", "value": [1, "a"]}, "value"),
    ({**PLAN, "operator": "between", "value": [2, 1]}, "value"),
    ({**PLAN, "operator": "between", "value": ["b", "a"]}, "value"),
    ({**PLAN, "operator": "starts_with", "value": ""}, "value"),
    ({**PLAN, "operator": "starts_with", "value": 1}, "value"),
    ({**PLAN, "operator": "exists", "value": True}, "value"),
    ({**PLAN, "operator": "before", "value": "soon"}, "value"),
    ({**PLAN, "operator": "before", "value": "2026-02-30"}, "value"),
    ({**PLAN, "operator": "before", "value": 1_767_225_600}, "value"),
    ({**PLAN, "operator": "after", "value": "-3661d"}, "value"),
    ({**PLAN, "operator": "after", "value": "9999-12-31T23:59:59-01:00"}, "value"),
    ({**PLAN, "operator": "within", "value": "2026-01-01"}, "value"),
    ({**PLAN, "operator": "within", "value": "0d"}, "value"),
    ({**PLAN, "operator": "within", "value": "7 d"}, "value"),
    ({**PLAN, "operator": "within", "value": "٧d"}, "value"),
    ({**PLAN, "operator": "neq", "value": 1, "whenMissing": "yes"}, "whenMissing"),
    ({**PLAN, "operator": "neq", "value": 1, "whenMissing": 1}, "whenMissing"),
    ({**PLAN, "operator": "eq", "value": 1, "whenMissing": True}, "whenMissing"),
    ({**PLAN, "operator": "eq", "value": 1, "extra": 1}, "extra"),
    # What cannot be stored.
    ({**PLAN, "operator": "eq", "value": math.nan}, "value"),
    ({**PLAN, "operator": "in", "value": [1, math.inf]}, "value[1]"),
    ({**PLAN, "operator": "eq", "value": 2**63}, "value"),
    ({**PLAN, "operator": "eq", "value": "a\x00"}, "value"),
    ({**PLAN, "operator": "eq", "value": "\ud800"}, "value"),
    ({**PLAN, "operator": "eq", "value": b"a"}, "value"),
    ({**PLAN, "operator": "eq", "value": 1, 2: 3}, ""),
    ({**BUY, "value": -math.inf}, "value"),
    ({**BUY, "eventType": "a\x00"}, "eventType"),
    ({"type": "attribute", "field": "attributes.a\x00", "operator": "exists"}, "field"),
    # Attributes.
    ({"type": "attribute", "operator": "exists"}, "field"),
    ({"type": "attribute", "field": ["email"], "operator": "exists"}, "field"),
    ({"type": "attribute", "field": "plan", "operator": "exists"}, "field"),
    ({"type": "attribute", "field": "attributes.", "operator": "exists"}, "field"),
    ({"type": "attribute", "field": "attributes.a..b", "operator": "exists"}, "field"),
    ({"type": "attribute", "field": f"attributes.{'a' * 1024}", "operator": "exists"}, "field"),
    ({"type": "attribute", "field": "email", "operator": "eq", "value": 1}, "value"),
    ({"type": "attribute", "field": "score", "operator": "contains", "value": 1}, "operator"),
    ({"type": "attribute", "field": "score", "operator": "gte", "value": "1"}, "value"),
    ({"type": "attribute", "field": "score", "operator": "in", "value": [1, True]}, "value"),
    ({"type": "attribute", "field": "createdAt", "operator": "gt", "value": "2026-01-01"}, "operator"),
    ({"type": "attribute", "field": "createdAt", "operator": "eq", "value": "now"}, "value"),
    ({"type": "attribute", "field": "attributes.age", "operator": "eq", "value": "7"}, "value"),
    ({"type": "attribute", "field": "attributes.age", "operator": "before", "value": "now"}, "operator"),
    ({"type": "attribute", "field": "attributes.vip", "operator": "eq", "value": 1}, "value"),
    ({"type": "attribute", "field": "attributes.vip", "operator": "gt", "value": 1}, "operator"),
    ({"type": "attribute", "field": "attributes.born", "operator": "eq", "value": "yesterday"}, "value"),
    # Events.
    ({"type": "event"}, "eventType"),
    ({"type": "event", "eventType": " "}, "eventType"),
    ({"type": "event", "eventType": "a" * 256}, "eventType"),
    ({"type": "event", "eventType": ["buy"]}, "eventType"),
    ({**BUY, "value": "3"}, "value"),
    ({**BUY, "value": None}, "value"),
    ({**BUY, "value": True}, "value"),
    ({**BUY, "value": [1]}, "value"),
    ({**BUY, "operator": "gte"}, "value"),
    ({**BUY, "operator": None, "value": 1}, "operator"),
    ({**BUY, "operator": ["exists"]}, "operator"),
    ({**BUY, "operator": "contains", "value": 1}, "operator"),
    ({**BUY, "operator": "before", "value": "now"}, "operator"),
    ({**BUY, "operator": "exists", "value": 1}, "value"),
    ({**BUY, "operator": "neq", "value": 1, "whenMissing": True}, "whenMissing"),
    ({**BUY, "whenMissing": True}, "whenMissing"),
    ({**BUY, "property": "metadata.amount"}, "property"),
    ({**BUY, "aggregate": "median"}, "aggregate"),
    ({**BUY, "aggregate": ["sum"]}, "aggregate"),
    ({**BUY, "aggregate": None}, "aggregate"),
    ({**BUY, "aggregate": "sum", "operator": "gte", "value": 1}, "property"),
    ({**BUY, "aggregate": "sum", "property": "amount", "operator": "gte", "value": 1}, "property"),
    ({**BUY, "aggregate": "sum", "property": 1, "operator": "gte", "value": 1}, "property"),
    ({**BUY, "aggregate": "sum", "property": "metadata.amount"}, "operator"),
    ({**BUY, "aggregate": "sum", "property": "metadata.amount", "operator": "gte", "value": "1"}, "value"),
    ({**BUY, "aggregate": "distinct"}, "property"),
    ({**BUY, "aggregate": "last", "operator": "eq", "value": "2026-01-01"}, "operator"),
    ({**BUY, "aggregate": "last", "property": "metadata.amount", "operator": "eq", "value": "1"}, "value"),
    ({**BUY, "aggregate": "first", "property": "metadata.gift", "operator": "gt", "value": 1}, "operator"),
    ({**BUY, "timeWindow": "7"}, "timeWindow"),
    ({**BUY, "timeWindow": "0d"}, "timeWindow"),
    ({**BUY, "timeWindow": "-7d"}, "timeWindow"),
    ({**BUY, "timeWindow": "+7d"}, "timeWindow"),
    ({**BUY, "timeWindow": "3661d"}, "timeWindow"),
    ({**BUY, "timeWindow": "9999999w"}, "timeWindow"),
    ({**BUY, "timeWindow": "now"}, "timeWindow"),
    ({**BUY, "timeWindow": 7}, "timeWindow"),
    ({**BUY, "timeWindow": ["7d"]}, "timeWindow"),
    ({**BUY, "timeWindow": {}}, "timeWindow"),
    ({**BUY, "timeWindow": {"since": "2026-01-01"}}, "timeWindow.since"),
    ({**BUY, "timeWindow": {"from": "-7d"}}, "timeWindow.from"),
    ({**BUY, "timeWindow": {"to": 7}}, "timeWindow.to"),
    ({**BUY, "timeWindow": {"from": "2026-01-01", "to": "2026-01-01"}}, "timeWindow.to"),
    ({**BUY, "filters": "x"}, "filters"),
    ({**BUY, "filters": []}, "filters"),
    ({**BUY, "filters": [{}]}, "filters[0].field"),
    ({**BUY, "filters": {}}, "filters.field"),
    ({**BUY, "filters": [TAG]}, "filters[0].type"),
    ({**BUY, "filters": [{"field": "amount", "operator": "exists"}]}, "filters[0].field"),
    ({**BUY, "filters": [{"field": "metadata.amount", "operator": "eq", "value": "a"}]}, "filters[0].value"),
    (
        {**BUY, "filters": [{"field": "metadata.when", "operator": "within", "value": "7d"}]},
        "filters[0].value",
    ),
    ({**BUY, "filters": {"field": "metadata.when", "operator": "before", "value": "now"}}, "filters.value"),
    ({**BUY, "filters": {**AND, "conditions": [TAG]}}, "filters.conditions[0].type"),
    (FILTERS_IN_FILTERS, "filters[0].type"),
    # Channels, tags, companies, segments.
    ({"type": "channel"}, "channel"),
    ({"type": "channel", "channel": "PIGEON"}, "channel"),
    ({"type": "channel", "channel": 1}, "channel"),
    ({"type": "channel", "channel": "EMAIL", "status": "MAYBE"}, "status"),
    ({"type": "channel", "channel": "EMAIL", "status": None}, "status"),
    ({"type": "channel", "channel": "EMAIL", "value": 1}, "value"),
    ({"type": "tag"}, "value"),
    ({"type": "tag", "value": ""}, "value"),
    ({"type": "tag", "value": "vip", "operator": "eq"}, "operator"),
    ({"type": "tag", "value": "vip", "operator": ["has"]}, "operator"),
    ({**COMPANY, "field": "name"}, "operator"),
    ({**COMPANY, "field": "name", "operator": "eq", "value": 1}, "value"),
    ({**COMPANY, "field": "owner", "operator": "exists"}, "field"),
    ({**COMPANY, "field": None, "operator": "exists"}, "field"),
    ({**COMPANY, "field": 1, "operator": "exists"}, "field"),
    ({**COMPANY, "operator": "eq", "value": "a"}, "field"),
    ({**COMPANY, "field": "attributes.since", "operator": "within", "value": "7d"}, "value"),
    ({**COMPANY, "field": "attributes.since", "operator": "before", "value": "now"}, "value"),
    ({"type": "segment"}, "segmentId"),
    ({"type": "segment", "segmentId": "no id"}, "segmentId"),
    ({"type": "segment", "segmentId": 7}, "segmentId"),
    ({"type": "segment", "segmentId": "0" * 32, "operator": "eq"}, "operator"),
]


@pytest.mark.parametrize(("raw", "path"), REFUSED)
def test_what_cannot_mean_anything_is_refused_with_the_path_of_the_fault(raw, path):
    with pytest.raises(InvalidCondition) as refused:
        parse_rule(raw, types=TYPES)
    assert refused.value.path == path
    assert str(refused.value)


def test_conditions_on_the_triggering_event_need_no_type():
    raw = {"field": "metadata.amount", "operator": "gte", "value": 50}
    rule = parse_rule(raw, about_event="buy", types=TYPES)
    assert rule.root == Group("AND", (PropertyLeaf("metadata.amount", Comparison("gte", 50)),))
    assert rule.reads_only_event


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({"field": "amount", "operator": "gte", "value": 50}, "field"),
        ({"field": "metadata.amount", "operator": "gte", "value": "50"}, "value"),
        ({"type": "evnt", "eventType": "buy"}, "type"),
        ({**AND, "conditions": [{"field": "metadata.amount"}]}, "conditions[0].operator"),
    ],
)
def test_conditions_on_the_triggering_event_are_held_against_its_types(raw, path):
    with pytest.raises(InvalidCondition) as refused:
        parse_rule(raw, about_event="buy", types=TYPES)
    assert refused.value.path == path


def test_no_condition_is_a_rule_about_an_event_that_always_holds():
    assert parse_rule(None, about_event="buy").root == Group("AND", ())


def test_a_comparison_with_the_clock_is_not_for_the_event_alone_to_decide():
    raw = {"field": "metadata.due", "operator": "before", "value": "now"}
    assert not parse_rule(raw, about_event="buy").reads_only_event


def test_a_count_is_at_least_one_if_nothing_is_said():
    assert _event_leaf({**BUY}).comparison == Comparison("gte", 1)
    assert _event_leaf({**BUY, "value": 3}).comparison == Comparison("gte", 3)
    assert _event_leaf({**BUY, "operator": "not_exists"}).comparison == Comparison("eq", 0)


def test_the_last_value_of_what_came_beside_the_properties_can_be_compared():
    raw = {**BUY, "aggregate": "last", "property": "utmSource", "operator": "eq", "value": "ad"}
    assert _event_leaf(raw).comparison == Comparison("eq", "ad")


def _event_leaf(raw: Any) -> EventLeaf:
    (leaf,) = parse_rule(raw).event_leaves
    return leaf


def test_filters_of_an_event_may_be_one_a_list_or_a_tree():
    one = {"field": "metadata.a", "operator": "exists"}
    leaf = PropertyLeaf("metadata.a", Comparison("exists"))
    assert _event_leaf({**BUY, "filters": one}).filters == Group("AND", (leaf,))
    assert _event_leaf({**BUY, "filters": [one]}).filters == Group("AND", (leaf,))
    tree = {"operator": "NOT", "conditions": [one]}
    assert _event_leaf({**BUY, "filters": tree}).filters == Group("NOT", (leaf,))
    assert _event_leaf({**BUY, "filters": [tree]}).filters == Group("AND", (Group("NOT", (leaf,)),))


@pytest.mark.parametrize(
    ("operator", "value", "as_moments"),
    [
        ("eq", "2026-01-01", True),
        ("neq", "2026-01-01T12:00:00.123+0100", True),
        ("in", ("2026-01-01", "2026-01-02 12:00"), True),
        ("in", ("2026-01-01", "soon"), False),
        ("eq", "20260101", False),
        ("eq", "2026-02-30", False),
        ("eq", 20260101, False),
        ("gt", "2026-01-01", False),
    ],
)
def test_dates_are_equal_as_moments_and_texts_as_texts(operator, value, as_moments):
    assert Comparison(operator, value).as_moments is as_moments


@given(trigger_only_rules("buy"))
@settings(max_examples=40, deadline=None)
def test_a_tree_over_an_event_is_written_as_it_was_read(raw):
    rule = parse_rule(raw, about_event="buy", types=MOMENTS)
    assert parse_rule(written(rule.root), about_event="buy").root == rule.root


@pytest.mark.django_db
def test_types_come_from_what_is_declared_not_from_what_was_merely_seen():
    workspace = WorkspaceFactory()
    create_field(workspace.id, "age", "integer")
    create_field(workspace.id, "word", "text")
    create_definition(
        workspace.id,
        "buy",
        properties=[PropertySpec("amount", EventProperty.Type.NUMBER), PropertySpec("due", "date")],
    )
    other = create_definition(workspace.id, "look", properties=[PropertySpec("amount", "number")])
    EventProperty.objects.filter(definition=other).update(is_locked=False)
    types = declared_types(workspace.id)
    assert types.attributes == {"age": "number"}
    assert types.properties == {("buy", "amount"): "number", ("buy", "due"): "moment"}


@given(person_rules)
@settings(max_examples=40, deadline=None)
def test_every_rule_of_the_language_is_read(raw):
    parse_rule(raw, types=MOMENTS)


@given(triggered_rules("buy"))
@settings(max_examples=40, deadline=None)
def test_every_rule_about_an_event_is_read(raw):
    parse_rule(raw, about_event="buy", types=MOMENTS)


@given(anything, st.sampled_from([None, "buy"]))
@settings(deadline=None)
def test_whatever_comes_is_read_or_refused(raw, about_event):
    _read_or_refuse(raw, about_event)


@given(triggered_rules("buy"), st.data())
@settings(deadline=None)
def test_whatever_stands_in_a_rule_is_read_or_refused(raw, data):
    _read_or_refuse(spoilt(raw, data), "buy")


def _read_or_refuse(raw: Any, about_event: str | None) -> None:
    with suppress(InvalidCondition):
        parse_rule(raw, about_event=about_event, types=TYPES)


def test_a_rule_as_deep_as_a_body_may_be_is_refused_quickly():
    raw: Any = TAG
    for _ in range(5_000):
        raw = {"operator": "AND", "conditions": [raw]}
    with pytest.raises(InvalidCondition):
        parse_rule(raw)
