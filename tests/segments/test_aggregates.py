"""What no rule asks any more is no longer measured."""

import pytest

from events.aggregates import registry
from events.aggregates.registry import built_aggregates
from events.models import Aggregate, ContactAggregate
from events.processing.passes import apply_effects
from events.stream.outbox import LANE_COUNT
from segments.build import BUILDS, purge_stale_rows, run_build
from segments.definitions import create_segment, delete_segment, update_segment
from segments.models import Membership, MembershipPeriod
from segments.tasks import purge_all_stale_rows, purge_versions
from tests.contacts.factories import a_contact
from tests.segments.factories import a_segment, did, send, who_is_in
from tests.segments.test_races import assert_told_as_it_is, at_once, buyers, stream

pytestmark = pytest.mark.django_db(transaction=True)


def twice(name):
    return did(name, operator="gte", value=2)


def measured(workspace):
    """Return the names of the events that are measured, and those of the aggregates that are kept."""
    names = dict(Aggregate.objects.filter(workspace=workspace).values_list("id", "event_name"))
    kept = set(ContactAggregate.objects.filter(workspace=workspace).values_list("aggregate_id", flat=True))
    return set(names.values()), {names.get(aggregate_id) for aggregate_id in kept}


def test_what_an_edit_leaves_unasked_is_forgotten(workspace, jane):
    segment = a_segment(workspace, twice("buy"))
    other = a_segment(workspace, twice("visit"))
    send(workspace, jane, "buy", "buy", "visit")
    old = segment.version
    update_segment(workspace.id, segment, raw=twice("call"))
    # The rule that serves is still asked.
    assert purge_versions(str(workspace.id), []) == "nothing"
    run_build(workspace.id, segment.id)
    assert purge_versions(str(workspace.id), [str(old)]) == "done"
    assert measured(workspace) == ({"call", "visit"}, {"visit"})
    send(workspace, jane, "visit", "buy")
    assert measured(workspace) == ({"call", "visit"}, {"visit"})
    assert who_is_in(other) == {jane.id}


def test_a_draft_asks_too(workspace, jane):
    segment = a_segment(workspace, twice("buy"))
    update_segment(workspace.id, segment, raw=twice("visit"), publish=False)
    run_build(workspace.id, segment.id)
    send(workspace, jane, "buy", "visit")
    assert purge_stale_rows(workspace.id) == 0
    assert measured(workspace) == ({"buy", "visit"}, {"buy", "visit"})


def test_two_rules_share_an_aggregate(workspace, jane):
    first, second = a_segment(workspace, twice("buy")), a_segment(workspace, did("buy"))
    send(workspace, jane, "buy")
    delete_segment(workspace.id, first)
    purge_stale_rows(workspace.id)
    assert measured(workspace) == ({"buy"}, {"buy"})
    send(workspace, jane, "buy")
    assert ContactAggregate.objects.get(workspace=workspace).count == 2
    delete_segment(workspace.id, second)
    purge_stale_rows(workspace.id)
    assert measured(workspace) == (set(), set())


def test_the_sweep_finds_measures_of_segments_in_which_nobody_ever_was(workspace, jane):
    segment = a_segment(workspace, twice("buy"))
    send(workspace, jane, "buy")
    delete_segment(workspace.id, segment)
    assert not Membership.objects.exists()
    assert not MembershipPeriod.objects.exists()
    assert purge_all_stale_rows() == "done"
    assert measured(workspace) == (set(), set())


def test_aggregates_go_page_by_page_and_after_a_crash_the_rest_goes(workspace, monkeypatch):
    monkeypatch.setattr(registry, "_PAGE", 3)
    people = [a_contact(workspace, f"person{number}@example.test") for number in range(8)]
    segment, other = a_segment(workspace, twice("buy")), a_segment(workspace, twice("visit"))
    for person in people:
        send(workspace, person, "buy", "visit")
    delete_segment(workspace.id, segment)

    def crash(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_delete_aggregates", crash)
        with pytest.raises(KeyboardInterrupt):
            purge_stale_rows(workspace.id)
    assert {spec.event_name for spec in built_aggregates(workspace.id)} == {"visit"}
    send(workspace, people[0], "buy")
    assert purge_stale_rows(workspace.id) == 8
    assert measured(workspace) == ({"visit"}, {"visit"})
    assert who_is_in(other) == set()


def test_a_rule_that_asks_again_amid_the_forgetting_is_right(workspace, jane):
    segment = a_segment(workspace, twice("buy"))
    send(workspace, jane, "buy", "buy")
    delete_segment(workspace.id, segment)
    again = []
    real = registry._delete_aggregates

    def meanwhile(*arguments):
        again.append(create_segment(workspace.id, name="Again", raw=twice("buy")))
        for lane in range(LANE_COUNT // 2):
            BUILDS.run_lane(workspace.id, again[0].id, lane)
        return real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_delete_aggregates", meanwhile)
        purge_stale_rows(workspace.id)
    run_build(workspace.id, again[0].id)
    assert who_is_in(again[0]) == {jane.id}
    send(workspace, jane, "buy")
    assert ContactAggregate.objects.get(workspace=workspace).count == 3


def test_measures_come_and_go_while_events_flow(workspace):
    people = [a_contact(workspace, f"person{number}@example.test") for number in range(24)]
    kept = a_segment(workspace, did("buy", operator="gte", value=3))

    def come_and_go():
        for number in range(4):
            cheap = [{"field": "metadata.price", "operator": "not_exists"}]
            passing = a_segment(workspace, did("buy", filters=cheap), name=f"Passing {number}")
            delete_segment(workspace.id, passing)
            purge_stale_rows(workspace.id)

    produce, work = stream(workspace, people)
    at_once(produce, work, come_and_go)
    apply_effects(workspace.id)
    assert who_is_in(kept) == buyers(people, 3)
    assert_told_as_it_is(kept)
    assert Aggregate.objects.filter(workspace=workspace).count() == 1
    assert ContactAggregate.objects.filter(workspace=workspace).count() == sum(
        1 for place in range(24) if place % 6
    )
