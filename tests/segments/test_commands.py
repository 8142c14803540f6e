"""verify_segments finds what is not as the stream says, and mends it; rebuild_segments builds anew."""

from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from config import clock
from contacts.models import Contact, ContactScore
from events.aggregates.registry import built_aggregates
from events.models import ContactAggregate, EffectsLevel, EventBatch, Timer
from events.processing.passes import apply_effects
from segments.definitions import create_segment, update_segment
from segments.models import Membership, MembershipPeriod, Segment
from segments.static_members import add_members
from segments.verification import DifferenceKind, verify_segments
from tests.contacts.factories import a_contact
from tests.segments.factories import (
    a_segment,
    attribute,
    did,
    every,
    in_segment,
    none_of,
    send,
    stays,
    tell,
    told,
    who_is_in,
)
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def john(workspace):
    return a_contact(workspace, "john@example.test")


@pytest.fixture
def buyers(workspace, jane):
    """A segment with Jane in it, by an all-time condition, whose aggregates are kept."""
    segment = a_segment(workspace, every(did("buy"), attribute("email", "exists")), "Buyers")
    send(workspace, jane, "buy")
    assert who_is_in(segment) == {jane.id}
    return segment


def run(command, **options):
    out = StringIO()
    call_command(command, stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def faults(workspace, **options):
    return {(one.contact_id, one.kind) for one in verify_segments(workspace.id, **options).differences}


def kick_out(segment, contact):
    Membership.objects.filter(segment=segment, contact=contact).delete()


def smuggle_in(segment, contact_id):
    Membership.objects.create(
        workspace=segment.workspace,
        segment=segment,
        version=segment.version,
        contact_id=contact_id,
        since=clock.now(),
    )


def test_correct_memberships_are_verified(workspace, jane, john, buyers):
    a_segment(workspace, none_of(did("buy", timeWindow="7d"), in_segment(buyers)))
    a_segment(workspace, attribute("createdAt", "within", "7d"))
    press = create_segment(workspace.id, name="Press", evaluation="STATIC")
    add_members(workspace.id, press, contact_ids=[john.id])
    found = verify_segments(workspace.id)
    assert (found.contacts, found.segments, found.skipped, found.differences) == (2, 4, [], [])
    assert "2 contacts, 4 segments, 0 differences" in run("verify_segments")


def test_a_membership_that_is_lost_or_too_many_is_found(workspace, jane, john, buyers):
    kick_out(buyers, jane)
    smuggle_in(buyers, john.id)
    assert faults(workspace) == {
        (jane.id, DifferenceKind.MISSING),
        (jane.id, DifferenceKind.UNPUBLISHED),
        (john.id, DifferenceKind.SURPLUS),
        (john.id, DifferenceKind.UNPUBLISHED),
    }
    with pytest.raises(CommandError) as refused:
        run("verify_segments")
    assert refused.value.returncode == 1
    assert who_is_in(buyers) == {john.id}


def test_a_repair_corrects_the_difference(workspace, jane, john, buyers):
    kick_out(buyers, jane)
    smuggle_in(buyers, john.id)
    assert "2 differences, 2 repaired" in run("verify_segments", repair=True)
    assert who_is_in(buyers) == {jane.id}
    assert [left for _, left in stays(buyers, jane)] == [None]
    assert stays(buyers, john) == []
    apply_effects(workspace.id)
    assert faults(workspace) == set()


def test_a_repair_tells_who_went_and_starts_no_campaign(workspace, john, buyers):
    smuggle_in(buyers, john.id)
    MembershipPeriod.objects.create(workspace=workspace, segment=buyers, contact=john, entered_at=clock.now())
    run("verify_segments", repair=True)
    assert who_is_in(buyers).isdisjoint({john.id})
    assert told(buyers, john) == ["segment.exited"]
    assert EventBatch.objects.get().level == EffectsLevel.SCORES_AND_SEGMENTS
    assert all(left is not None for _, left in stays(buyers, john))


def test_a_wrong_aggregate_is_counted_anew(workspace, jane):
    thrice = a_segment(workspace, did("buy", operator="gte", value=3))
    assert built_aggregates(workspace.id)
    send(workspace, jane, "buy", "buy", "buy")
    ContactAggregate.objects.update(count=1)
    kick_out(thrice, jane)
    assert verify_segments(workspace.id, repair=True).is_sound
    assert who_is_in(thrice) == {jane.id}
    assert ContactAggregate.objects.get().count == 3


def test_dependent_segments_are_repaired_after_the_wrong_one(workspace, jane, buyers):
    first = a_segment(workspace, in_segment(buyers), "A: on buyers")
    others = a_segment(workspace, none_of(in_segment(first)), "B: not on buyers")
    apply_effects(workspace.id)
    kick_out(buyers, jane)
    kick_out(first, jane)
    smuggle_in(others, jane.id)
    found = verify_segments(workspace.id, repair=True)
    assert len({one.segment_id for one in found.differences}) == 3
    assert found.is_sound
    assert (who_is_in(buyers), who_is_in(first), who_is_in(others)) == ({jane.id}, {jane.id}, set())


def test_pending_effects_are_no_difference(workspace, john, time):
    lapsing = a_segment(workspace, did("buy", timeWindow="1d"))
    assert who_is_in(lapsing) == set()
    tell(workspace, john, "buy", at=time.now())
    assert faults(workspace) == set()
    apply_effects(workspace.id)
    assert who_is_in(lapsing) == {john.id}
    time.go(days=1)
    assert faults(workspace) == set()
    apply_effects(workspace.id)
    assert who_is_in(lapsing) == set()


def test_a_moment_that_was_forgotten_is_found(workspace, john, time):
    lapsing = a_segment(workspace, did("buy", timeWindow="1d"))
    send(workspace, john, "buy", at=time.now())
    Timer.objects.all().delete()
    time.go(days=1)
    assert faults(workspace) == {(john.id, DifferenceKind.SURPLUS)}
    assert verify_segments(workspace.id, repair=True).is_sound
    assert who_is_in(lapsing) == set()


def test_members_that_are_no_contacts_are_removed(workspace, jane, john, buyers):
    smuggle_in(buyers, ghost := uuid4())
    press = create_segment(workspace.id, name="Press", evaluation="STATIC")
    smuggle_in(press, ghost)
    add_members(workspace.id, press, contact_ids=[john.id])
    Contact.objects.filter(id=john.id).update(merged_into=jane)
    assert (ghost, DifferenceKind.STRAY) in faults(workspace)
    found = verify_segments(workspace.id, repair=True)
    assert {one.contact_id for one in found.differences} == {ghost}
    assert found.is_sound
    # Who was put in by hand before the merge is in still.
    assert who_is_in(press) == {john.id}


def test_a_merged_contacts_history_counts_for_its_survivor(workspace, jane, john, buyers):
    Contact.objects.filter(id=jane.id).update(merged_into=john)
    assert faults(workspace) == {
        (john.id, DifferenceKind.MISSING),
        (jane.id, DifferenceKind.STRAY),
    }


def test_a_score_is_read_from_the_contacts_tables(workspace, jane, john):
    ContactScore.objects.create(workspace=workspace, contact=jane, points="0.3")
    hot = a_segment(workspace, attribute("score", "gte", 0.3))
    assert who_is_in(hot) == {jane.id}
    assert faults(workspace) == set()


def test_a_sample_looks_at_so_many_contacts(workspace, jane, john, buyers):
    assert "1 contacts, 1 segments" in run("verify_segments", sample=1)
    assert "2 contacts, 1 segments" in run("verify_segments", sample=99)
    kick_out(buyers, jane)
    with pytest.raises(CommandError):
        run("verify_segments", sample=2)


def test_only_the_segments_that_are_named_are_looked_at(workspace, jane, john, buyers):
    other = a_segment(workspace, did("look"))
    kick_out(buyers, jane)
    assert "0 differences" in run("verify_segments", segment=[str(other.id)])
    assert "0 differences" in run("verify_segments", workspace=str(workspace.id), segment=[str(other.id)])
    with pytest.raises(CommandError, match="not what the stream says"):
        run("verify_segments", segment=[str(buyers.id)])
    for wrong in (
        {"segment": ["x"]},
        {"segment": [str(uuid4())]},
        {"workspace": str(uuid4())},
        {"sample": 0},
    ):
        with pytest.raises(CommandError):
            run("verify_segments", **wrong)


def test_another_workspace_is_left_alone(workspace, jane, buyers):
    kick_out(buyers, jane)
    assert faults(WorkspaceFactory()) == set()


def test_what_no_rule_decides_now_is_skipped_and_named(workspace, jane, buyers):
    Segment.objects.filter(id=buyers.id).update(parked_at=clock.now(), error="too slow")
    create_segment(workspace.id, name="New", raw=did("look"))
    kick_out(buyers, jane)
    assert verify_segments(workspace.id).skipped == ["Buyers", "New"]
    assert "not looked at, for no rule of theirs serves now: Buyers, New" in run("verify_segments")


def test_a_draft_is_not_held_against_what_serves(workspace, jane, buyers):
    update_segment(workspace.id, buyers, raw=did("look"))
    assert faults(workspace) == set()


def test_a_rebuild_is_started_for_the_workers_or_done_at_once(workspace, jane, buyers):
    create_segment(workspace.id, name="Press", evaluation="STATIC")
    kick_out(buyers, jane)
    assert "1 builds started" in run("rebuild_segments")
    buyers.refresh_from_db()
    assert buyers.build == Segment.Build.RUNNING
    assert who_is_in(buyers) == set()
    assert "1 segments built" in run("rebuild_segments", wait=True, segment=[str(buyers.id)])
    assert who_is_in(buyers) == {jane.id}
    assert faults(workspace) == set()


def test_a_rebuild_lets_a_parked_segment_serve_again(workspace, jane, buyers):
    Segment.objects.filter(id=buyers.id).update(parked_at=clock.now(), error="too slow")
    run("rebuild_segments", wait=True)
    buyers.refresh_from_db()
    assert (buyers.parked_at, buyers.error) == (None, "")


def test_a_rebuild_that_fails_says_so(workspace, jane, buyers, monkeypatch):
    def fail(*args, **options):
        raise ValueError("no")

    monkeypatch.setattr("segments.build.evaluate_contacts", fail)
    with pytest.raises(CommandError, match="Some segments were not built"):
        run("rebuild_segments", wait=True)
    buyers.refresh_from_db()
    assert buyers.build == Segment.Build.FAILED
    assert who_is_in(buyers) == {jane.id}
