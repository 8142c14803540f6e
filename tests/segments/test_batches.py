"""Segments whose rules differ in values alone are evaluated by one statement, each by its own values."""

import pytest

from contacts.crud import set_consent, update_contact
from contacts.references import ContactChanges
from events.processing.passes import apply_effects
from segments.evaluation import batch_groups
from segments.plans import plan_of
from tests.contacts.factories import a_contact, tag_contact
from tests.segments.factories import a_segment, attribute, did, every, in_segment, none_of, send, who_is_in

pytestmark = pytest.mark.django_db(transaction=True)

TEXTS = ["plain", 'a "quoted" one', "back\\slash", "{braces},commas", "NULL", "it's", "", "ünï😀"]


def test_each_rule_is_evaluated_by_its_own_values(workspace, jane):
    segments = {
        text: a_segment(
            workspace, did("buy", filters=[{"field": "properties.sku", "operator": "eq", "value": text}])
        )
        for text in TEXTS
    }
    assert _statements(workspace) == 1
    people = {text: a_contact(workspace, f"{place}@example.test") for place, text in enumerate(TEXTS)}
    for text, person in people.items():
        send(workspace, person, "buy", sku=text)
    for text, segment in segments.items():
        assert who_is_in(segment) == {people[text].id}, text


@pytest.mark.parametrize(
    "filters",
    [
        [("ends_with", value) for value in ("y", "ay", "day")],
        [("starts_with", value) for value in ("Sun", "S", "Mon")],
        [("contains", value) for value in ("un", "xx", "%", "_")],
        [("in", value) for value in (["Sunday"], ["Monday", "Tuesday"], ['"', "Sunday", "{}"])],
        [("not_in", value) for value in (["Sunday"], ["Monday", "Tuesday"])],
        [("gt", value) for value in ("S", "T", "a")],
    ],
    ids=lambda filters: filters[0][0],
)
def test_every_operator_is_evaluated_by_its_own_values(workspace, jane, filters):
    rules = [
        did("buy", filters=[{"field": "properties.day", "operator": operator, "value": value}])
        for operator, value in filters
    ]
    segments = [a_segment(workspace, rule) for rule in rules]
    assert _statements(workspace) == 1
    send(workspace, jane, "buy", day="Sunday")
    meant = {
        "ends_with": "Sunday".endswith,
        "starts_with": "Sunday".startswith,
        "contains": lambda value: value in "Sunday",
        "in": lambda value: "Sunday" in value,
        "not_in": lambda value: "Sunday" not in value,
        "gt": lambda value: value < "Sunday",
    }
    for segment, (operator, value) in zip(segments, filters, strict=True):
        assert (who_is_in(segment) == {jane.id}) == meant[operator](value), value


def test_windows_of_several_lengths_lapse_each_at_its_own_moment(workspace, time, jane):
    lengths = [1, 2, 3]
    segments = [a_segment(workspace, did("buy", timeWindow=f"{days}d")) for days in lengths]
    assert _statements(workspace) == 1
    send(workspace, jane, "buy")
    for left in ([1, 2, 3], [2, 3], [3], []):
        found = [days for days, segment in zip(lengths, segments, strict=True) if who_is_in(segment)]
        assert found == left
        time.go(days=1)
        apply_effects(workspace.id)


def test_aggregates_sums_and_thresholds_are_each_its_own(workspace, jane):
    sums = [
        a_segment(
            workspace,
            did("buy", aggregate="sum", property="properties.amount", operator="gte", value=value),
        )
        for value in (10, 20, 30.5)
    ]
    counts = [
        a_segment(
            workspace,
            did(
                "buy",
                filters=[{"field": "properties.kind", "operator": "eq", "value": kind}],
                operator="gte",
                value=2,
            ),
        )
        for kind in ("a", "b", True, 1)
    ]
    for amount, kind in ((10, "a"), (10, "b"), (5, "b"), (0, True), (0, True)):
        send(workspace, jane, "buy", amount=amount, kind=kind)
    assert [bool(who_is_in(segment)) for segment in sums] == [True, True, False]
    assert [bool(who_is_in(segment)) for segment in counts] == [False, True, True, False]


def test_each_rule_reads_its_own_attribute_values(workspace, jane):
    cities = [
        a_segment(workspace, every(attribute("attributes.city", "eq", city))) for city in ("Rome", "Bonn")
    ]
    tags = [a_segment(workspace, every({"type": "tag", "value": tag})) for tag in ("vip", "new")]
    channels = [
        a_segment(workspace, every({"type": "channel", "channel": channel, "status": "OPTED_IN"}))
        for channel in ("EMAIL", "SMS")
    ]
    outer = [a_segment(workspace, every(in_segment(segment))) for segment in cities]
    others = [a_segment(workspace, none_of(in_segment(segment))) for segment in cities]
    update_contact(workspace.id, jane, ContactChanges(attributes={"city": "Bonn"}))
    tag_contact(workspace.id, jane, "new")
    set_consent(workspace.id, jane, "sms", "opted_in")
    apply_effects(workspace.id)
    for segments in (cities, tags, channels, outer):
        assert [bool(who_is_in(segment)) for segment in segments] == [False, True]
    assert [bool(who_is_in(segment)) for segment in others] == [True, False]


def _statements(workspace) -> int:
    return len(batch_groups(workspace.id, plan_of(workspace.id), 0))
