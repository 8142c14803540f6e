"""What can be said of a segment, and what is refused, with the path of the fault."""

from uuid import uuid4

import pytest

from events.errors import InvalidCondition
from scoring.models import ScoringRule
from segments.build import run_build
from segments.definitions import (
    create_segment,
    delete_segment,
    discard_draft,
    get_segment,
    rebuild_segment,
    segment_warnings,
    update_segment,
)
from segments.errors import (
    InvalidSegmentName,
    SegmentExists,
    SegmentHasNoDraft,
    SegmentInUse,
    SegmentIsStatic,
    SegmentNotFound,
)
from segments.models import Segment
from tests.scoring.factories import a_rule
from tests.segments.factories import a_segment, did, every, in_segment, none_of
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


def test_name_and_description_change_without_a_build(workspace):
    segment = a_segment(workspace, did("buy"))
    changed = update_segment(workspace.id, segment, name=" Buyers ", description="Those who buy")
    assert (changed.name, changed.description, changed.build) == ("Buyers", "Those who buy", "none")
    assert changed.version == segment.version


@pytest.mark.parametrize("name", ["", "  ", "x" * 256, "a\x00b"])
def test_a_name_is_needed(workspace, name):
    with pytest.raises(InvalidSegmentName):
        create_segment(workspace.id, name=name, raw=did("buy"))


def test_a_name_is_given_once(workspace):
    create_segment(workspace.id, name="Buyers", raw=did("buy"))
    with pytest.raises(SegmentExists):
        create_segment(workspace.id, name="Buyers", raw=did("look"))
    other = create_segment(workspace.id, name="Lookers", raw=did("look"))
    with pytest.raises(SegmentExists):
        update_segment(workspace.id, other, name="Buyers")
    assert create_segment(WorkspaceFactory().id, name="Buyers", raw=did("buy")).name == "Buyers"


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (None, ""),
        (every(did("buy", timeWindow="soon")), "conditions[0].timeWindow"),
        (every(did("buy"), {"type": "segment", "segmentId": str(uuid4())}), "conditions[1].segmentId"),
        ({"type": "segment", "segmentId": str(uuid4())}, "segmentId"),
    ],
)
def test_a_rule_that_cannot_mean_anything_is_refused(workspace, raw, path):
    with pytest.raises(InvalidCondition) as refusal:
        create_segment(workspace.id, name="Odd", raw=raw)
    assert refusal.value.path == path
    assert not Segment.objects.exists()


def test_a_segment_of_another_workspace_is_not_known(workspace):
    foreign = a_segment(WorkspaceFactory(), did("buy"))
    with pytest.raises(InvalidCondition):
        create_segment(workspace.id, name="Odd", raw=in_segment(foreign))
    with pytest.raises(SegmentNotFound):
        get_segment(workspace.id, foreign.id)
    with pytest.raises(SegmentNotFound):
        update_segment(workspace.id, foreign, name="Mine")


def test_cycles_are_refused_with_their_path(workspace):
    one = create_segment(workspace.id, name="One", raw=did("buy"))
    two = create_segment(workspace.id, name="Two", raw=in_segment(one))
    three = create_segment(workspace.id, name="Three", raw=every(did("buy"), none_of(in_segment(two))))
    with pytest.raises(InvalidCondition) as refusal:
        update_segment(workspace.id, one, raw=every(did("buy"), none_of(in_segment(three, "not_in"))))
    assert refusal.value.path == "conditions[1].conditions[0].segmentId"
    assert "One → Three → Two → One" in refusal.value.message
    with pytest.raises(InvalidCondition) as refusal:
        update_segment(workspace.id, one, raw=in_segment(one))
    assert refusal.value.path == "segmentId"


def test_drafts_count_for_cycles(workspace):
    one = a_segment(workspace, did("buy"))
    two = a_segment(workspace, did("buy"))
    update_segment(workspace.id, two, raw=in_segment(one), publish=False)
    with pytest.raises(InvalidCondition):
        update_segment(workspace.id, one, raw=in_segment(two))


def test_a_segment_that_others_build_on_stays(workspace):
    segment = a_segment(workspace, did("buy"))
    user = create_segment(workspace.id, name="User", raw=every(in_segment(segment)))
    ScoringRule.objects.create(
        workspace=workspace, name="Bonus", event_name="buy", points=1, condition=in_segment(segment)
    )
    with pytest.raises(SegmentInUse) as refusal:
        delete_segment(workspace.id, segment)
    assert refusal.value.users == ("Bonus", "User")
    ScoringRule.objects.all().delete()
    delete_segment(workspace.id, user)
    delete_segment(workspace.id, segment)
    assert not Segment.objects.exists()


def test_a_static_segment_has_no_rule(workspace):
    with pytest.raises(SegmentIsStatic):
        create_segment(workspace.id, name="List", evaluation="STATIC", raw=did("buy"))
    segment = create_segment(workspace.id, name="List", evaluation="STATIC")
    assert segment.build == "none"
    with pytest.raises(SegmentIsStatic):
        update_segment(workspace.id, segment, raw=did("buy"))
    with pytest.raises(SegmentIsStatic):
        rebuild_segment(workspace.id, segment)
    assert run_build(workspace.id, segment.id) == "nothing"


def test_what_was_never_seen_is_allowed_and_told(workspace):
    fliers = create_segment(workspace.id, name="Fliers", raw=did("fly"))
    assert fliers.draft_rule == did("fly")
    assert segment_warnings(fliers) == ['The event "fly" has never been seen.']


def test_a_segment_whose_only_draft_was_given_up_has_nothing_to_build(workspace):
    segment = create_segment(workspace.id, name="Buyers", raw=did("buy"))
    discard_draft(workspace.id, segment)
    with pytest.raises(SegmentHasNoDraft):
        rebuild_segment(workspace.id, segment)
    update_segment(workspace.id, segment, raw=did("buy"))
    assert rebuild_segment(workspace.id, segment).has_draft


def test_a_scoring_rule_builds_on_segments_of_its_workspace_only(workspace):
    segment = a_segment(workspace, did("buy"))
    stranger = a_segment(WorkspaceFactory(), did("buy"))
    a_rule(workspace, "visit", 5, condition=every(in_segment(segment)))
    for missing in (in_segment(stranger), {"type": "segment", "segmentId": str(uuid4())}):
        with pytest.raises(InvalidCondition) as refused:
            a_rule(workspace, "visit", 5, condition=every(did("look"), missing))
        assert refused.value.path == "conditions[1].segmentId"
