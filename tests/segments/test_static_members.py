"""Static segments are filled by hand, and left alone by events."""

import pytest

from contacts.models import Contact
from events.models import EffectsLevel, EventBatch
from events.processing.passes import apply_effects
from segments.definitions import create_segment
from segments.errors import InvalidMemberList, SegmentIsDynamic
from segments.memberships import count_members, explain_membership, members, segments_of
from segments.static_members import add_members, read_member_list, remove_members
from tests.contacts.factories import a_contact
from tests.segments.factories import a_segment, did, in_segment, send, stays, told, who_is_in
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def guests(workspace):
    return create_segment(workspace.id, name="Guests", evaluation="STATIC")


def test_contacts_are_put_in_by_id_and_by_what_they_are_known_by(workspace, guests, jane):
    john = a_contact(workspace, "john@example.test")
    result = add_members(
        workspace.id,
        guests,
        contact_ids=[jane.id],
        identifiers=[
            ("email", " JOHN@example.test"),
            ("email", "jane@example.test"),
            ("email", "nobody@x.test"),
        ],
    )
    assert (result.changed, result.unchanged, result.unknown) == (2, 0, ["nobody@x.test"])
    assert who_is_in(guests) == {jane.id, john.id}
    assert told(guests, jane) == ["segment.entered"]
    again = add_members(workspace.id, guests, contact_ids=[jane.id])
    assert (again.changed, again.unchanged) == (0, 1)


def test_contacts_are_taken_out(workspace, guests, jane):
    add_members(workspace.id, guests, contact_ids=[jane.id])
    assert remove_members(workspace.id, guests, identifiers=[("email", "jane@example.test")]).changed == 1
    assert who_is_in(guests) == set()
    assert told(guests, jane) == ["segment.entered", "segment.exited"]
    assert len(stays(guests, jane)) == 1
    assert remove_members(workspace.id, guests, contact_ids=[jane.id]).unchanged == 1


def test_filling_a_static_segment_by_hand_may_start_campaigns(workspace, guests, jane):
    EventBatch.objects.all().delete()
    add_members(workspace.id, guests, contact_ids=[jane.id])
    assert EventBatch.objects.get().level == EffectsLevel.ALL


def test_events_leave_the_list_alone_and_rules_may_build_on_it(workspace, guests, jane):
    followers = a_segment(workspace, in_segment(guests))
    add_members(workspace.id, guests, contact_ids=[jane.id])
    send(workspace, jane, "buy")
    assert (who_is_in(guests), who_is_in(followers)) == ({jane.id}, {jane.id})
    remove_members(workspace.id, guests, contact_ids=[jane.id])
    apply_effects(workspace.id)
    assert who_is_in(followers) == set()


def test_a_dynamic_segment_is_not_filled_by_hand(workspace, jane):
    segment = a_segment(workspace, did("buy"))
    with pytest.raises(SegmentIsDynamic):
        add_members(workspace.id, segment, contact_ids=[jane.id])


def test_contacts_of_others_are_unknown(workspace, guests):
    stranger = a_contact(WorkspaceFactory(), "stranger@example.test")
    result = add_members(workspace.id, guests, contact_ids=[stranger.id])
    assert (result.changed, result.unknown) == (0, [str(stranger.id)])


def test_who_was_merged_is_in_by_the_survivor(workspace, guests, jane):
    double = a_contact(workspace, "jane@work.test")
    add_members(workspace.id, guests, contact_ids=[double.id])
    Contact.objects.filter(id=double.id).update(merged_into=jane)
    assert [member.contact_id for member in members(workspace.id, guests)] == [jane.id]
    assert explain_membership(workspace.id, guests, double.id).is_member
    assert [segment.id for segment, _ in segments_of(workspace.id, jane.id)] == [guests.id]
    assert add_members(workspace.id, guests, contact_ids=[jane.id]).changed == 0
    assert count_members(workspace.id, [guests]) == {guests.id: 1}
    assert remove_members(workspace.id, guests, contact_ids=[jane.id]).changed == 1
    assert members(workspace.id, guests) == []


ID = "01980000-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("text", "contact_ids", "identifiers"),
    [
        ("", [], []),
        (f"{ID}\n\njane@example.test\n+41441234567\nC-17\n", [ID], ["email", "phone", "external_id"]),
        ("\ufeffemail,phone\njane@example.test,1\n,+41441234567\n", [], ["email", "phone"]),
        (f"Contact ID,Note\n{ID},x\n", [ID], []),
        ('"External_Id"\n"C,17"\n', [], ["external_id"]),
    ],
)
def test_uploaded_lists_are_parsed(text, contact_ids, identifiers):
    found = read_member_list(text)
    assert [str(one) for one in found.contact_ids] == contact_ids
    assert [kind for kind, _ in found.identifiers] == identifiers


@pytest.mark.parametrize("text", ["id\nnot-an-id\n", 'email\n"jane@example.test\n'])
def test_a_list_that_is_none_is_refused(text):
    with pytest.raises(InvalidMemberList):
        read_member_list(text)


@pytest.mark.parametrize(
    "text",
    [
        "name;E-Mail\nAda;jane@example.test\n",
        "name\texternal id\te_mail\nAda\t\tjane@example.test\n",
        '"email";"name"\n"jane@example.test";"Ada, Lady"\n',
    ],
)
def test_columns_may_be_divided_by_semicolons_and_tabs(text):
    assert read_member_list(text).identifiers == [("email", "jane@example.test")]


def test_without_a_header_only_commas_divide():
    assert read_member_list("a;b\nc,d\n").identifiers == [("external_id", "a;b"), ("external_id", "c")]
