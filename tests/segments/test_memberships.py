"""Since when a contact is in a segment, and who was in it: what was told, and each person once."""

import pytest
from django.db.models import F

from contacts.merging.merges import merge_contacts, undo_merge
from events.processing.passes import apply_effects
from segments.definitions import create_segment, rebuild_segment, update_segment
from segments.memberships import explain_membership, members, members_at, segments_of
from segments.models import Membership, MembershipPeriod
from segments.static_members import add_members
from tests.contacts.factories import a_contact
from tests.segments.factories import a_segment, build_occupied_lanes, did, send, who_is_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def buyers(workspace, jane, time):
    segment = a_segment(workspace, did("buy"))
    send(workspace, jane, "buy")
    assert who_is_in(segment) == {jane.id}
    return segment


def since(segment, contact):
    """Return since when the contact is in it, which every way of asking tells alike."""
    segment.refresh_from_db()
    (listed,) = members(segment.workspace_id, segment)
    ((_, of_contact),) = segments_of(segment.workspace_id, contact.id)
    explained = explain_membership(segment.workspace_id, segment, contact.id).since
    assert listed.since == of_contact == explained
    return explained


def test_another_version_of_the_rule_leaves_the_moment_of_entry(workspace, jane, time, buyers):
    entered = time.now()
    assert since(buyers, jane) == entered
    time.go(days=1)
    rebuild_segment(workspace.id, buyers)
    build_occupied_lanes(buyers)
    assert since(buyers, jane) == entered
    time.go(days=1)
    update_segment(workspace.id, buyers, raw=did("buy", operator="gte", value=1, timeWindow="30d"))
    build_occupied_lanes(buyers)
    assert since(buyers, jane) == entered


def test_a_returning_member_has_the_time_of_the_last_entry(workspace, jane, time):
    lately = a_segment(workspace, did("buy", timeWindow="1d"))
    send(workspace, jane, "buy")
    time.go(days=2)
    send(workspace, jane, "look")
    send(workspace, jane, "buy")
    assert since(lately, jane) == time.now()


def test_before_publication_a_member_is_in_since_the_evaluation(workspace, jane, time, buyers):
    came = time.now()
    MembershipPeriod.objects.filter(segment=buyers).delete()
    assert since(buyers, jane) == came


def test_members_at_a_moment_count_merged_contacts_once(workspace, jane, time, buyers):
    john, joan = (a_contact(workspace, f"{name}@example.test") for name in ("john", "joan"))
    send(workspace, john, "buy")
    send(workspace, joan, "buy")
    both = time.now()
    assert [one.contact_id for one in members_at(workspace.id, buyers, both)] == sorted(
        [jane.id, john.id, joan.id]
    )
    time.go(days=1)
    first = merge_contacts(workspace.id, john, jane)
    merge_contacts(workspace.id, john, joan)
    apply_effects(workspace.id)
    assert [one.contact_id for one in members_at(workspace.id, buyers, both)] == [john.id]
    assert [one.until for one in members_at(workspace.id, buyers, both)] == [None]
    undo_merge(workspace.id, first)
    apply_effects(workspace.id)
    assert [one.contact_id for one in members_at(workspace.id, buyers, both)] == sorted([jane.id, john.id])


def test_a_former_member_by_a_merged_contact_is_shown_once(workspace, time):
    press = create_segment(workspace.id, name="Press", evaluation="STATIC")
    one, two, survivor = (a_contact(workspace, f"{name}@example.test") for name in ("one", "two", "three"))
    add_members(workspace.id, press, contact_ids=[one.id, two.id])
    merge_contacts(workspace.id, survivor, one)
    merge_contacts(workspace.id, survivor, two)
    assert len(members_at(workspace.id, press, time.now())) == 1
    assert Membership.objects.filter(segment=press, version=F("segment__version")).count() == 2
