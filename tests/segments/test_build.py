"""A rule is held against everybody in the background, and swapped in at once."""

import pytest

from config.runtime import background
from contacts.models import Contact
from events.models import Aggregate, EffectsLevel, EventBatch
from events.processing.lane_backfills import begin_lanes, unfinished_lanes
from events.processing.passes import apply_effects
from events.stream.outbox import LANE_COUNT
from segments import build as building
from segments.build import BUILDS, PUBLICATIONS, progress_of, purge_stale_rows, run_build
from segments.definitions import (
    create_segment,
    delete_segment,
    discard_draft,
    publish_segment,
    rebuild_segment,
    update_segment,
)
from segments.errors import SegmentHasNoDraft, SegmentNotBuilt
from segments.memberships import count_members, members, members_at, segments_of
from segments.models import Membership, MembershipPeriod, Segment
from tests.contacts.factories import a_contact
from tests.segments.factories import (
    a_segment,
    build_occupied_lanes,
    did,
    none_of,
    send,
    stays,
    tell,
    told,
    who_is_in,
)
from workspaces import tasks
from workspaces.models import BackfillJob

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def people(workspace):
    """Forty contacts, of whom every second has bought."""
    found = sorted(
        (a_contact(workspace, f"person{number}@example.test") for number in range(40)),
        key=lambda person: person.id,
    )
    for person in found[::2]:
        tell(workspace, person, "buy")
    apply_effects(workspace.id)
    return found


def ids(people):
    return {person.id for person in people}


def test_a_new_segment_is_built_from_history(workspace, people):
    buyers = create_segment(workspace.id, name="Buyers", raw=did("buy"))
    assert (who_is_in(buyers), buyers.build) == (set(), "running")
    assert run_build(workspace.id, buyers.id) == "done"
    assert who_is_in(buyers) == ids(people[::2])
    assert (buyers.build, buyers.draft_version, buyers.publishing_since) == ("none", None, None)
    assert [told(buyers, person) for person in people[:2]] == [["segment.entered"], []]
    assert run_build(workspace.id, buyers.id) == "nothing"


@pytest.mark.parametrize("count", [0, 2])
def test_a_build_of_occupied_lanes_leaves_what_a_build_of_all_does(workspace, count):
    for number in range(count):
        send(workspace, a_contact(workspace, f"person{number}@example.test"), *["buy"] * (number + 1))
    often = did("buy", operator="gte", value=2)
    whole, quick = (create_segment(workspace.id, name=name, raw=often) for name in ("Whole", "Quick"))
    aggregates = Aggregate.objects.filter(workspace=workspace)
    run_build(workspace.id, whole.id)
    first = list(aggregates.values_list("key", "lanes_built"))
    aggregates.update(lanes_built=0)
    build_occupied_lanes(quick)
    assert _left_by(quick) == _left_by(whole)
    assert list(aggregates.values_list("key", "lanes_built")) == first


def _left_by(segment):
    jobs = BackfillJob.objects.filter(workspace_id=segment.workspace_id, subject=str(segment.id))
    members = who_is_in(segment)
    fields = ("rule", "draft_rule", "draft_version", "build", "build_lanes_done", "build_evaluated", "error")
    return (
        members,
        {name: getattr(segment, name) for name in (*fields, "publishing_since", "published_lanes")},
        [(job.kind, job.part, job.cursor, job.done, job.status) for job in jobs.order_by("kind", "part")],
        {contact_id: told(segment, Contact.objects.get(pk=contact_id)) for contact_id in members},
    )


def test_a_build_starts_no_campaigns_unless_it_is_to(workspace, people):
    EventBatch.objects.all().delete()
    a_segment(workspace, did("buy"))
    assert {batch.level for batch in EventBatch.objects.all()} == {EffectsLevel.SCORES_AND_SEGMENTS}
    EventBatch.objects.all().delete()
    a_segment(workspace, did("buy"), starts_campaigns=True)
    assert {batch.level for batch in EventBatch.objects.all()} == {EffectsLevel.ALL}


def test_the_old_rule_serves_until_the_draft_is_promoted(workspace, people):
    segment = a_segment(workspace, did("buy"))
    update_segment(workspace.id, segment, raw=none_of(did("buy")))
    for lane in range(LANE_COUNT - 1):
        BUILDS.run_lane(workspace.id, segment.id, lane)
    assert who_is_in(segment) == ids(people[::2])
    send(workspace, people[1], "buy")
    assert who_is_in(segment) == ids(people[::2]) | {people[1].id}
    run_build(workspace.id, segment.id)
    assert who_is_in(segment) == ids(people[1::2]) - {people[1].id}
    assert told(segment, people[0]) == ["segment.entered", "segment.exited"]
    assert told(segment, people[1]) == ["segment.entered", "segment.exited"]
    assert told(segment, people[3]) == ["segment.entered"]


def test_members_who_stay_at_a_promotion_are_not_published(workspace, people):
    segment = a_segment(workspace, did("buy"))
    update_segment(workspace.id, segment, raw=did("buy", timeWindow="30d"))
    run_build(workspace.id, segment.id)
    assert who_is_in(segment) == ids(people[::2])
    assert told(segment, people[0]) == ["segment.entered"]
    assert len(stays(segment, people[0])) == 1


def test_events_reach_the_draft_in_lanes_that_are_done(workspace, people):
    segment = create_segment(workspace.id, name="Buyers", raw=did("buy"), publish=False)
    run_build(workspace.id, segment.id)
    segment.refresh_from_db()
    assert segment.build == Segment.Build.DONE
    send(workspace, people[1], "buy")
    assert who_is_in(segment) == set()
    publish_segment(workspace.id, segment)
    assert who_is_in(segment) == ids(people[::2]) | {people[1].id}
    run_build(workspace.id, segment.id)
    assert told(segment, people[1]) == ["segment.entered"]


def test_a_draft_is_published_when_it_is_built_and_not_before(workspace, people):
    segment = create_segment(workspace.id, name="Buyers", raw=did("buy"), publish=False)
    with pytest.raises(SegmentNotBuilt):
        publish_segment(workspace.id, segment)
    run_build(workspace.id, segment.id)
    publish_segment(workspace.id, segment)
    with pytest.raises(SegmentHasNoDraft):
        publish_segment(workspace.id, segment)


def test_a_draft_that_is_dropped_leaves_nothing(workspace, people):
    segment = a_segment(workspace, did("buy"))
    update_segment(workspace.id, segment, raw=none_of(did("buy")), publish=False)
    run_build(workspace.id, segment.id)
    discard_draft(workspace.id, segment)
    assert purge_stale_rows(workspace.id) == 20
    assert who_is_in(segment) == ids(people[::2])
    assert Membership.objects.filter(workspace=workspace).count() == 20
    with pytest.raises(SegmentHasNoDraft):
        discard_draft(workspace.id, segment)


def test_an_edit_amid_a_build_starts_it_anew(workspace, people):
    segment = create_segment(workspace.id, name="Edited", raw=did("buy"))
    for lane in range(LANE_COUNT // 2):
        BUILDS.run_lane(workspace.id, segment.id, lane)
    update_segment(workspace.id, segment, raw=none_of(did("buy")))
    run_build(workspace.id, segment.id)
    assert who_is_in(segment) == ids(people[1::2])
    purge_stale_rows(workspace.id)
    assert Membership.objects.filter(workspace=workspace).count() == 20


def test_the_rule_that_serves_given_again_drops_the_draft(workspace, people):
    segment = a_segment(workspace, did("buy"))
    version = segment.version
    update_segment(workspace.id, segment, raw=none_of(did("buy")))
    segment = update_segment(workspace.id, segment, raw=did("buy"))
    assert (segment.version, segment.draft_version, segment.build) == (version, None, "none")


def test_a_build_continues_after_its_last_batch(workspace, people, monkeypatch):
    monkeypatch.setattr(building, "CHUNK", 1)
    segment = create_segment(workspace.id, name="Buyers", raw=did("buy"))
    lane = people[0].id.int % LANE_COUNT
    of_lane = [person.id for person in people if person.id.int % LANE_COUNT == lane]
    real, evaluated = building.evaluate_contacts, []

    def kill(workspace_id, rule_version, contact_ids, *arguments):
        real(workspace_id, rule_version, contact_ids, *arguments)
        evaluated.append(contact_ids[0])
        if len(evaluated) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(building, "evaluate_contacts", kill)
    with pytest.raises(KeyboardInterrupt):
        BUILDS.run_lane(workspace.id, segment.id, lane)
    assert not BUILDS.run_lane(workspace.id, segment.id, lane, at_most_seconds=0)
    assert BUILDS.run_lane(workspace.id, segment.id, lane)
    # The first batch was rolled back.
    assert evaluated == [of_lane[0], *of_lane]
    assert BUILDS.run_lane(workspace.id, segment.id, lane)
    segment.refresh_from_db()
    assert (progress_of(segment).judged, len(evaluated)) == (len(of_lane), len(of_lane) + 1)


def test_progress_is_shown(workspace, people):
    segment = create_segment(workspace.id, name="Buyers", raw=did("buy"))
    assert (progress_of(segment).fraction, progress_of(segment).total) == (0, 40)
    for lane in range(LANE_COUNT // 2):
        BUILDS.run_lane(workspace.id, segment.id, lane)
    segment.refresh_from_db()
    done = sum(1 for person in people if person.id.int % LANE_COUNT < LANE_COUNT // 2)
    assert (progress_of(segment).judged, progress_of(segment).fraction) == (done, done / 40)
    run_build(workspace.id, segment.id)
    segment.refresh_from_db()
    assert (progress_of(segment).fraction, progress_of(segment).is_publishing) == (1, False)


def test_builds_without_progress_are_resumed(workspace, time, people, monkeypatch):
    sent = []
    monkeypatch.setattr(background, "publish", lambda task, *arguments: sent.append((task, arguments)))
    monkeypatch.setattr(tasks.continue_job, "apply_async", lambda args, retry: tasks.continue_job(*args))
    segment = create_segment(workspace.id, name="Buyers", raw=did("buy"))
    sent.clear()  # the message is lost
    assert tasks.continue_all_backfills() == "nothing"
    for path in (BUILDS.path, PUBLICATIONS.path):
        time.go(minutes=1)
        assert tasks.continue_all_backfills() == "done"
        assert sent == [("workspaces.tasks.continue_jobs", (path, str(workspace.id), str(segment.id)))]
        arguments = sent.pop()[1]
        tasks.continue_jobs(*arguments)
        sent.clear()  # what begins the publication is lost, too
    time.go(minutes=1)
    assert tasks.continue_all_backfills() == "nothing"
    assert who_is_in(segment) == ids(people[::2])
    assert told(segment, people[0]) == ["segment.entered"]


def test_a_build_of_a_process_killed_before_the_end_is_finished_later(workspace, people, monkeypatch):
    segment = create_segment(workspace.id, name="Buyers", raw=did("buy"))

    def kill(*_):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "promote_draft", kill)
        with pytest.raises(KeyboardInterrupt):
            run_build(workspace.id, segment.id)
    segment.refresh_from_db()
    assert segment.build == "running"
    assert unfinished_lanes(BUILDS.path, workspace.id, segment.id) == [LANE_COUNT - 1]
    run_build(workspace.id, segment.id)
    assert who_is_in(segment) == ids(people[::2])
    assert told(segment, people[0]) == ["segment.entered"]


def test_publishing_again_publishes_nothing_twice(workspace, people):
    segment = a_segment(workspace, did("buy"))
    Segment.objects.update(publishing_since=segment.published_at, published_lanes=0)
    begin_lanes(PUBLICATIONS.path, workspace.id, segment.id)
    run_build(workspace.id, segment.id)
    segment.refresh_from_db()
    assert segment.publishing_since is None
    assert told(segment, people[0]) == ["segment.entered"]
    assert MembershipPeriod.objects.filter(workspace=workspace, segment=segment).count() == 20


def test_a_rebuild_corrects_memberships(workspace, people):
    segment = a_segment(workspace, did("buy"))
    Membership.objects.filter(version=segment.version, contact=people[0]).delete()
    rebuild_segment(workspace.id, segment)
    run_build(workspace.id, segment.id)
    assert who_is_in(segment) == ids(people[::2])
    assert told(segment, people[0]) == ["segment.entered"]


def test_rules_over_all_time_read_aggregates_once_they_are_built(
    workspace, people, django_assert_num_queries
):
    regulars = a_segment(workspace, did("buy", operator="gte", value=2))
    assert who_is_in(regulars) == set()
    send(workspace, people[0], "buy")
    assert who_is_in(regulars) == {people[0].id}


def test_members_and_former_members(workspace, time, people):
    start = time.now()
    segment = a_segment(workspace, did("visit", timeWindow="7d"))
    for person in people[:3]:
        send(workspace, person, "visit")
    time.go(days=7)
    send(workspace, people[3], "visit")
    apply_effects(workspace.id)
    segment.refresh_from_db()
    assert [member.contact_id for member in members(workspace.id, segment)] == [people[3].id]
    first = members_at(workspace.id, segment, start, limit=2)
    assert [member.contact_id for member in first] == [people[0].id, people[1].id]
    assert [(member.since, member.until) for member in first] == [(start, time.now())] * 2
    rest = members_at(workspace.id, segment, start, after=first[-1].contact_id)
    assert [member.contact_id for member in rest] == [people[2].id]
    assert [one.contact_id for one in members_at(workspace.id, segment, time.now())] == [people[3].id]
    assert count_members(workspace.id, [segment]) == {segment.id: 1}
    assert [found.id for found, _ in segments_of(workspace.id, people[3].id)] == [segment.id]


def test_a_deleted_segment_leaves_nothing(workspace, people):
    segment = a_segment(workspace, did("buy"))
    other = a_segment(workspace, none_of(did("buy")))
    apply_effects(workspace.id)
    delete_segment(workspace.id, segment)
    assert purge_stale_rows(workspace.id) == 40
    assert who_is_in(other) == ids(people[1::2])
    assert set(MembershipPeriod.objects.filter(workspace=workspace).values_list("segment_id", flat=True)) == {
        other.id
    }
    send(workspace, people[1], "buy")
    assert who_is_in(other) == ids(people[3::2])
