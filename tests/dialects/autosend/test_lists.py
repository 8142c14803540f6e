"""Contact lists are static segments: `listIds` puts contacts on them, and answers name those they are on."""

import pytest

from contacts.erasure.erasures import erase_person
from contacts.merging.merges import merge_contacts
from contacts.models import Contact
from segments.definitions import create_segment
from segments.models import Membership, Segment
from segments.static_members import add_members
from tests.segments.factories import attribute
from tests.segments.factories import every as every_condition
from tests.workspaces.factories import WorkspaceFactory, a_key

EMAIL = "jane@example.com"
WRITES = ["/contacts", "/contacts/email", "/contacts/bulk-update"]


def a_list(workspace, name="Newsletter"):
    return create_segment(workspace.id, name=name, evaluation=Segment.Evaluation.STATIC)


@pytest.fixture
def newsletter(project):
    return a_list(project.workspace)


def write(project, path, **body):
    contact = {"email": EMAIL, **body}
    return project.post(path, {"contacts": [contact]} if path.endswith("bulk-update") else contact)


def lists_of(project, contact):
    return project.get(f"/contacts/{contact.id}").json()["data"]["listIds"]


@pytest.mark.parametrize("path", WRITES)
def test_a_contact_is_put_on_lists(project, newsletter, path):
    offers = a_list(project.workspace, "Offers")
    wanted = [str(offers.id), str(newsletter.id), str(offers.id).upper()]

    answer = write(project, path, listIds=wanted)

    assert answer.status_code in (200, 201)
    told = sorted((str(newsletter.id), str(offers.id)))
    if not path.endswith("bulk-update"):
        assert answer.json()["data"]["listIds"] == told
    assert lists_of(project, Contact.objects.get()) == told


def test_lists_that_an_upsert_leaves_out_are_kept(project, newsletter):
    offers = a_list(project.workspace, "Offers")
    write(project, "/contacts/email", listIds=[str(newsletter.id)])
    for sent in ({}, {"listIds": []}, {"listIds": None}, {"listIds": [str(offers.id)]}):
        write(project, "/contacts/email", **sent)
    assert lists_of(project, Contact.objects.get()) == sorted((str(newsletter.id), str(offers.id)))


def test_a_repetition_changes_nothing(project, newsletter):
    answers = [write(project, "/contacts/email", listIds=[str(newsletter.id)]).json() for _ in range(2)]
    assert answers[0]["data"]["listIds"] == answers[1]["data"]["listIds"] == [str(newsletter.id)]
    assert Membership.objects.count() == 1


@pytest.mark.parametrize("path", WRITES)
def test_an_unknown_list_is_refused_by_name_and_nothing_is_written(project, newsletter, path):
    elsewhere = a_list(WorkspaceFactory())
    unknown = ["60d5ec49f1b2c72d9c8b4567", str(elsewhere.id), "GLOBAL_CONTACT_LIST", ""]

    answer = write(project, path, listIds=[str(newsletter.id), *unknown]).json()

    error = answer["data"]["errors"][0] if path.endswith("bulk-update") else answer["error"]
    assert (error["code"], error["details"]) == (
        "VALIDATION_FAILED",
        [
            {
                "field": f"listIds[{place}]",
                "message": f'listIds[{place}] names a contact list that does not exist: "{name}"',
            }
            for place, name in enumerate(unknown, 1)
        ],
    )
    assert not Contact.objects.exists()
    assert not Membership.objects.exists()


def test_a_segment_is_computed_and_nobody_is_put_into_it(project):
    rule = every_condition(attribute("email", "contains", "example"))
    segment = create_segment(project.workspace.id, name="All", raw=rule)
    answer = write(project, "/contacts", listIds=[str(segment.id)])
    assert answer.status_code == 400
    assert "nobody can be added to" in answer.json()["error"]["details"][0]["message"]
    assert not Contact.objects.exists()


@pytest.mark.parametrize("by", ["emails", "contactIds"])
def test_contacts_are_taken_off_a_list(project, jane, newsletter, by):
    add_members(project.workspace.id, newsletter, contact_ids=[jane.id])
    gone = {"emails": [EMAIL.upper(), "nobody@example.com"], "contactIds": [str(jane.id), "nobody"]}[by]
    for removed in (1, 0):
        answer = project.post(f"/contact-lists/{newsletter.id}/contacts/remove", {by: gone})
        assert answer.status_code == 200
        assert answer.json() == {
            "success": True,
            "data": {"removed": removed, "notInList": 2 - removed, "errors": []},
        }
    assert lists_of(project, jane) == []


def test_nobody_is_taken_off_an_unknown_list(project, jane, newsletter):
    elsewhere = a_list(WorkspaceFactory())
    segment = create_segment(
        project.workspace.id, name="All", raw=every_condition(attribute("email", "contains", "e"))
    )
    for list_id in ("nope", elsewhere.id, segment.id):
        answer = project.post(f"/contact-lists/{list_id}/contacts/remove", {"emails": [EMAIL]})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "CONTACT_LIST_NOT_FOUND")


@pytest.mark.parametrize(
    "body", [{}, {"emails": "a"}, {"emails": [5]}, {"emails": [EMAIL], "contactIds": ["a"]}]
)
def test_a_removal_of_a_wrong_shape(project, newsletter, body):
    answer = project.post(f"/contact-lists/{newsletter.id}/contacts/remove", body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "VALIDATION_FAILED")


def test_a_merged_contact_is_on_the_lists_of_both(project, jane, newsletter):
    offers = a_list(project.workspace, "Offers")
    add_members(project.workspace.id, newsletter, contact_ids=[jane.id])
    write(project, "/contacts", email="other@example.com", listIds=[str(newsletter.id), str(offers.id)])
    other = Contact.objects.exclude(id=jane.id).get()
    merge_contacts(project.workspace.id, jane, other)

    told = sorted((str(newsletter.id), str(offers.id)))
    assert lists_of(project, jane) == lists_of(project, other) == told
    write(project, "/contacts/email", email="other@example.com", listIds=[str(offers.id)])
    assert Membership.objects.count() == 3
    project.post(f"/contact-lists/{newsletter.id}/contacts/remove", {"emails": [EMAIL]})
    assert lists_of(project, jane) == [str(offers.id)]


def test_whoever_was_erased_is_put_on_no_list(project, jane, newsletter):
    add_members(project.workspace.id, newsletter, contact_ids=[jane.id])
    erase_person(project.workspace.id, jane)
    for path in WRITES:
        answer = write(project, path, listIds=[str(newsletter.id)])
        assert answer.status_code >= 400 or answer.json()["data"]["failedCount"] == 1
    assert not Contact.objects.exists()
    assert not Membership.objects.exists()


def test_a_search_reads_the_lists_of_all_at_once(project, newsletter, django_assert_max_num_queries):
    emails = [f"p{number}@example.com" for number in range(10)]
    contacts = [{"email": email, "listIds": [str(newsletter.id)]} for email in emails]
    project.post("/contacts/bulk-update", {"contacts": contacts})
    with django_assert_max_num_queries(8):
        found = project.post("/contacts/search/emails", emails).json()["data"]["contacts"]
    assert [each["listIds"] for each in found] == [[str(newsletter.id)]] * 10


def test_lists_are_for_keys_that_may_have_segments(project, jane, newsletter):
    add_members(project.workspace.id, newsletter, contact_ids=[jane.id])
    key = a_key(project.workspace, scopes=["contacts:read", "contacts:write"]).secret
    plain = type(project)(project.workspace, key)
    assert write(plain, "/contacts/email", listIds=[str(newsletter.id)]).status_code == 403
    assert write(plain, "/contacts/email", listIds=[]).json()["data"]["listIds"] == []
    assert lists_of(plain, jane) == []
    answer = plain.post(f"/contact-lists/{newsletter.id}/contacts/remove", {"emails": [EMAIL]})
    assert answer.status_code == 403
    assert lists_of(project, jane) == [str(newsletter.id)]


def test_a_key_that_pages_have_learns_of_no_list(project, jane, newsletter):
    page = type(project)(project.workspace, a_key(project.workspace, scopes=["events:write"]).secret)
    answers = [
        page.get(f"/contacts/{jane.id}"),
        page.post(f"/contact-lists/{newsletter.id}/contacts/remove", {"emails": [EMAIL]}),
        *(write(page, path, listIds=[str(newsletter.id)]) for path in WRITES),
    ]
    assert {answer.status_code for answer in answers} == {403}
    assert not Membership.objects.exists()
