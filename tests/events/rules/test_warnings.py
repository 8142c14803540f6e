"""What is told of a rule that speaks of things that never were, or were of another kind."""

import pytest

from events.rules.parser import parse_rule
from events.rules.warnings import find_rule_warnings
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.workspaces.factories import WorkspaceFactory


@pytest.fixture
def workspace(db):
    return WorkspaceFactory.create()


@pytest.fixture
def buy(workspace):
    api = NativeClient(workspace)

    def send(*metadata):
        for one in metadata:
            assert api.post("events", {"type": "buy", "metadata": one}).status_code == 201

    return send


def bought(field="amount", operator="gt", value=100):
    leaf = {"field": f"metadata.{field}", "operator": operator}
    return {
        "type": "event",
        "eventType": "buy",
        "filters": [leaf if value is None else {**leaf, "value": value}],
    }


def told(workspace, *conditions, about=""):
    raw = {"operator": "AND", "conditions": list(conditions)}
    return find_rule_warnings(workspace.id, parse_rule(raw, about_event=about or None), about=about)


@pytest.mark.parametrize(
    ("condition", "sentence"),
    [
        ({"type": "event", "eventType": "fly"}, 'The event "fly" has never been seen.'),
        (bought("colour"), 'The property "colour" of the event "buy" has never been seen.'),
        (bought("place.zip"), 'The property "place.zip" of the event "buy" has never been seen.'),
        (
            {"type": "event", "eventType": "buy", "aggregate": "sum", "property": "metadata.tax",
             "operator": "gt", "value": 1},
            'The property "tax" of the event "buy" has never been seen.',
        ),
        ({"type": "tag", "value": "vip"}, 'The tag "vip" has never been seen.'),
        (
            {"type": "attribute", "field": "attributes.plan", "operator": "eq", "value": "pro"},
            'The attribute "plan" has never been seen.',
        ),
        (
            {"type": "company", "field": "attributes.tier", "operator": "exists"},
            'The company\'s attribute "tier" has never been seen.',
        ),
    ],
)  # fmt: skip
def test_what_was_never_seen_is_named(workspace, buy, condition, sentence):
    buy({"amount": 1, "place": {"city": "Bern"}})
    assert told(workspace, condition) == [sentence]


def test_lists_objects_and_what_is_in_them_were_seen(workspace, buy):
    buy({"items": ["a"], "place": {"city": "Bern"}, "gone": None})
    a_contact(workspace, tags=("vip",), attributes={"plan": "pro", "langs": ["de"], "home": {"zip": "3000"}})
    assert not told(
        workspace,
        bought("items", "contains", "a"),
        bought("items", "exists", None),
        bought("place", "exists", None),
        bought("place.city", "eq", "Bern"),
        bought("gone", "exists", None),
        {"type": "tag", "value": "vip"},
        {"type": "attribute", "field": "attributes.plan", "operator": "neq", "value": "free"},
        {"type": "attribute", "field": "attributes.langs", "operator": "contains", "value": "de"},
        {"type": "attribute", "field": "attributes.home.zip", "operator": "eq", "value": "3000"},
        {"type": "attribute", "field": "email", "operator": "exists"},
    )


AMOUNT = 'The property "amount" of the event "buy" is'


@pytest.mark.parametrize(
    ("values", "operator", "value", "sentence"),
    [
        (["199.00", "20"], "gt", 100, "a text in 2 of 2 events, and the rule compares it with a number."),
        (
            ["199.00", 20, 30],
            "between",
            [1, 9],
            "a text in 1 of 3 events, and the rule compares it with a number.",
        ),
        ([20, 30], "eq", "20", "a number in 2 of 2 events, and the rule compares it with a text."),
        ([20], "in", ["20", "30"], "a number in 1 of 1 events, and the rule compares it with a text."),
        (["true"], "eq", True, "a text in 1 of 1 events, and the rule compares it with true or false."),
        ([True], "eq", "true", "true or false in 1 of 1 events, and the rule compares it with a text."),
        (
            ["soon", "2026-01-15"],
            "before",
            "2026-02-01",
            "a text in 1 of 2 events, and the rule compares it with a date.",
        ),
        (
            [1768471200],
            "after",
            "2026-02-01",
            "a number in 1 of 1 events, and the rule compares it with a date.",
        ),
        (["soon"], "eq", "2026-01-15", "a text in 1 of 1 events, and the rule compares it with a date."),
        ([["a"]], "eq", "a", "a list in 1 of 1 events, and the rule compares it with a text."),
        ([{"a": 1}], "eq", 1, "an object in 1 of 1 events, and the rule compares it with a number."),
        ([5], "contains", "a", "a number in 1 of 1 events, and the rule compares it with a text or a list."),
        ([5], "starts_with", "a", "a number in 1 of 1 events, and the rule compares it with a text."),
    ],
)
def test_a_comparison_with_another_kind_is_told_with_its_events(
    workspace, buy, values, operator, value, sentence
):
    buy(*({"amount": one} for one in values))
    assert told(workspace, bought("amount", operator, value)) == [f"{AMOUNT} {sentence}"]
    condition = {"field": "metadata.amount", "operator": operator, "value": value}
    assert told(workspace, condition, about="buy") == [f"{AMOUNT} {sentence}"]


@pytest.mark.parametrize(
    ("values", "operator", "value"),
    [
        ([1, 2.5, None], "gt", 1),
        (["a", "2026-01-15"], "eq", "a"),
        (["2026-01-15", "2026-01-15T10:00:00z"], "after", "2026-02-01"),
        ([["a"], "ab"], "contains", "a"),
        ([1, "a"], "in", [1, "a"]),
        ([1, "a", True, [], {}], "exists", None),
    ],
)
def test_a_comparison_with_the_same_kind_is_not(workspace, buy, values, operator, value):
    buy(*({"amount": one} for one in values))
    assert told(workspace, bought("amount", operator, value)) == []


def test_what_is_added_up_must_be_numbers(workspace, buy):
    buy({"amount": "199.00"}, {"amount": 1})
    leaf = {"type": "event", "eventType": "buy", "aggregate": "sum", "property": "metadata.amount"}
    assert told(workspace, {**leaf, "operator": "gt", "value": 100}) == [
        f"{AMOUNT} a text in 1 of 2 events, and the rule compares it with a number."
    ]
    assert told(workspace, {**leaf, "aggregate": "distinct", "operator": "gt", "value": 1}) == []


def test_an_attribute_of_another_kind_is_told_with_its_contacts(workspace):
    a_contact(workspace, attributes={"age": "40"})
    a_contact(workspace, attributes={"age": 30})
    assert told(
        workspace, {"type": "attribute", "field": "attributes.age", "operator": "gt", "value": 18}
    ) == ['The attribute "age" is a text in 1 of 2 contacts, and the rule compares it with a number.']


def test_other_workspaces_do_not_count(workspace, buy):
    buy({"amount": "1"})
    other = WorkspaceFactory.create()
    assert told(other, bought()) == ['The event "buy" has never been seen.']


SENTENCE = f"{AMOUNT} a text in 1 of 1 events, and the rule compares it with a number."


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("segments", {"name": "Big", "evaluation": "DYNAMIC", "rules": bought()}),
        (
            "scoring-rules",
            {"name": "Big", "eventType": "buy", "delta": 1,
             "condition": {"field": "metadata.amount", "operator": "gt", "value": 100}},
        ),
        (
            "campaigns",
            {"name": "Big", "type": "AUTOMATED", "workflow": {"nodes": [], "edges": []},
             "triggers": [{"type": "EVENT", "eventType": "buy",
                           "condition": {"field": "metadata.amount", "operator": "gt", "value": 100}}]},
        ),
        (
            "campaigns",
            {"name": "Branch", "type": "AUTOMATED", "triggers": [{"type": "CONTACT_CREATED"}],
             "workflow": {"edges": [], "nodes": [{"id": "b", "type": "branch", "data": {"branches": [
                 {"handle": "big", "condition": bought()}]}}]}},
        ),
    ],
)  # fmt: skip
def test_it_is_told_when_the_rule_is_saved(workspace, buy, path, body):
    buy({"amount": "199.00"})
    answer = NativeClient(workspace).post(path, body)
    assert answer.status_code == 201, answer.json()
    assert answer.json()["warnings"] == [SENTENCE]
