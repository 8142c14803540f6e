"""What a rule would say, before it serves."""

import pytest

from contacts.errors import ContactNotFound
from events.errors import InvalidCondition
from segments import preview as previewing
from segments.definitions import create_segment, update_segment
from segments.errors import PreviewTooSlow, SegmentHasNoDraft, SegmentIsStatic, SegmentNotBuilt
from segments.memberships import explain_membership
from segments.preview import impact_of, impact_of_draft, preview_rule
from tests.contacts.factories import a_contact
from tests.segments.factories import a_segment, build_occupied_lanes, did, every, none_of, send, who_is_in
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(workspace):
    """Ten contacts, in the order of their ids: the first four have bought, the first two have returned it."""
    found = sorted(
        (a_contact(workspace, f"person{number}@example.test") for number in range(10)),
        key=lambda person: person.id,
    )
    for person in found[:4]:
        send(workspace, person, "buy")
    for person in found[:2]:
        send(workspace, person, "return")
    return found


def test_a_preview_counts_and_shows_some(workspace, people):
    preview = preview_rule(workspace.id, did("buy"), samples=2)
    assert (preview.count, preview.total, preview.judged) == (4, 10, 10)
    assert (preview.is_estimate, preview.margin) == (False, 0)
    assert preview.samples == [people[0].id, people[1].id]
    assert preview.warnings == []
    assert preview_rule(workspace.id, did("fly")).warnings


def test_a_preview_of_nonsense_is_refused(workspace):
    with pytest.raises(InvalidCondition):
        preview_rule(workspace.id, {"type": "moon"})


def test_nobody_to_preview(workspace):
    assert preview_rule(workspace.id, did("buy")).count == 0


def test_too_many_contacts_are_estimated_from_a_random_sample(workspace, people, monkeypatch):
    monkeypatch.setattr(previewing, "PREVIEW_CONTACTS", 5)
    preview = preview_rule(workspace.id, none_of(did("fly")))
    assert (preview.total, preview.is_estimate) == (10, True)
    assert 0 < preview.judged <= 5
    assert preview.count == 10
    assert preview.margin > 0


def test_an_estimate_is_within_its_margin(workspace, monkeypatch):
    people = [a_contact(workspace) for _ in range(120)]
    for person in people[:40]:
        send(workspace, person, "buy")
    monkeypatch.setattr(previewing, "PREVIEW_CONTACTS", 60)
    estimates = [preview_rule(workspace.id, did("buy")) for _ in range(10)]
    assert len({one.count for one in estimates}) > 1
    assert sum(abs(one.count - 40) <= one.margin for one in estimates) >= 7


def test_a_preview_takes_no_longer_than_it_may(workspace, people, monkeypatch):
    monkeypatch.setattr(previewing, "PREVIEW_SECONDS", 0.0)
    with pytest.raises(PreviewTooSlow):
        preview_rule(workspace.id, did("buy"))


def test_the_impact_of_a_rule_that_is_not_saved(workspace, people):
    segment = a_segment(workspace, did("buy"))
    kept = did("return")
    impact = impact_of(workspace.id, {"operator": "OR", "conditions": [kept, none_of(did("buy"))]}, segment)
    assert (impact.enter, impact.leave, impact.stay) == (6, 2, 2)
    assert (impact.total, impact.is_estimate, impact.margin) == (10, False, 0)
    assert [one.contact_id for one in impact.leaving] == [people[2].id, people[3].id]
    assert [one.tree["matches"] for one in (*impact.entering, *impact.leaving, *impact.staying)] == (
        [True] * 5 + [False] * 2 + [True] * 2
    )
    assert impact.staying[0].tree["conditions"][0]["events"][0]["id"]


def test_the_impact_of_a_draft_that_is_built(workspace, people):
    segment = a_segment(workspace, did("buy"))
    with pytest.raises(SegmentHasNoDraft):
        impact_of_draft(workspace.id, segment)
    segment = update_segment(
        workspace.id, segment, raw=every(did("buy"), none_of(did("return"))), publish=False
    )
    with pytest.raises(SegmentNotBuilt):
        impact_of_draft(workspace.id, segment)
    build_occupied_lanes(segment)
    segment.refresh_from_db()
    impact = impact_of_draft(workspace.id, segment)
    assert (impact.enter, impact.leave, impact.stay, impact.total) == (0, 2, 2, 10)
    assert {one.contact_id for one in impact.leaving} == {people[0].id, people[1].id}
    assert who_is_in(segment) == {person.id for person in people[:4]}


def test_a_static_segment_has_no_rule_to_compare(workspace):
    with pytest.raises(SegmentIsStatic):
        impact_of(workspace.id, did("buy"), create_segment(workspace.id, name="List", evaluation="STATIC"))


def test_an_explanation_shows_the_events_and_when_they_lapse(workspace, time):
    jane = a_contact(workspace, "jane@example.test")
    segment = a_segment(workspace, every(did("buy", timeWindow="7d"), none_of(did("return"))))
    came = time.now()
    send(workspace, jane, "buy")
    time.go(days=1)
    explanation = explain_membership(workspace.id, segment, jane.id)
    assert (explanation.is_member, explanation.matches, explanation.since) == (True, True, came)
    assert explanation.changes_at == came.replace(day=came.day + 7)
    bought, returned = explanation.tree["conditions"]
    assert (bought["matches"], returned["matches"], bought["actual"]) == (True, True, 1)
    assert [event["timestamp"] for event in bought["events"]] == ["2026-05-01T12:00:00.000Z"]


def test_a_contact_of_another_workspace_has_no_explanation(workspace):
    segment = a_segment(workspace, did("buy"))
    stranger = a_contact(WorkspaceFactory(), "stranger@example.test")
    with pytest.raises(ContactNotFound):
        explain_membership(workspace.id, segment, stranger.id)
