"""Imported contacts and events obey merges and their undo, erasures, and who has which identifier."""

import json
from datetime import UTC, datetime

import pytest
from django.core.management import call_command

from contacts.crud import find_contact, get_contact
from contacts.erasure.erasures import erase_person
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import Company, Contact, ContactScore, Identifier, Import
from contacts.queries import with_details
from events.models import Event, RefusedEvent
from events.processing.passes import apply_effects
from scoring.verification import verify_contacts
from segments.verification import verify_segments
from tests.contacts.factories import a_contact
from tests.contacts.imports.files import refused_rows, run
from tests.scoring.factories import a_rule
from tests.segments.factories import a_segment, attribute, did, every
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
DAY = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
CONTACTS = (
    {"email": "one@x.test", "first_name": "One", "plan": "pro", "tags": ["a"], "company_name": "Mill"},
    {
        "email": "two@x.test",
        "last_name": "Two",
        "plan": "free",
        "seats": 2,
        "tags": ["b"],
        "phone": "+4930123456",
    },
)
EVENTS = (
    {"event": "buy", "timestamp": DAY, "email": "one@x.test", "messageId": "1", "amount": 1},
    {"event": "buy", "timestamp": DAY, "phone": "+4930123456", "messageId": "2", "amount": 2},
    {"event": "buy", "timestamp": DAY, "email": "two@x.test", "messageId": "3", "amount": 4},
)
FORMS = ["contacts", "events"]


@pytest.fixture
def workspace():
    """Return a workspace whose rules and segments follow people."""
    workspace = WorkspaceFactory.create()
    a_rule(workspace, "buy", 5)
    a_segment(workspace, every(did("buy", operator="gte", value=2)), "buyers")
    a_segment(workspace, every(attribute("attributes.plan", "eq", "pro")), "pros")
    return workspace


@pytest.fixture
def load(tmp_path, workspace):
    """Return what imports rows and applies their effects."""

    def load(kind, rows, **options):
        path = tmp_path / f"{kind}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        done = run(f"import_{kind}", path, workspace, restart=True, **options)
        apply_effects(workspace.id)
        return done

    return load


def everything(workspace):
    """Return what is known of each contact, with events, points and memberships, by its own identifiers."""
    found = {}
    contacts = with_details(Contact.objects.in_workspace(workspace.id), companies=True)
    for contact in contacts:
        own = sorted(Identifier.objects.filter(contact=contact).values_list("kind", "value", "is_primary"))
        found[str(own)] = (
            contact.first_name,
            contact.last_name,
            contact.attributes,
            sorted(contact.tag_names),
            [company.name for company in contact.known_companies],
            sorted(
                Event.objects.filter(contact=contact, source="import").values_list("message_id", flat=True)
            ),
            sorted(
                ContactScore.objects.filter(contact=contact, points__gt=0).values_list("points", flat=True)
            ),
            contact.merged_into_id is None,
        )
    return found


def assert_sound(workspace):
    people = list(Contact.objects.in_workspace(workspace.id).canonical().values_list("id", flat=True))
    assert not verify_contacts(workspace.id, people)
    assert verify_segments(workspace.id).is_sound


def test_merged_before_or_after_is_the_same_and_the_undo_parts_them(workspace, load):
    """But for what a contact file says of the survivor meanwhile: that stays there."""
    one, two = a_contact(workspace, "one@x.test"), a_contact(workspace, "two@x.test")
    load("contacts", CONTACTS)
    load("events", EVENTS)
    apart = everything(workspace)
    assert [row[5] for row in apart.values()] == [["1"], ["2", "3"]]
    merge = merge_contacts(workspace.id, one, two)
    apply_effects(workspace.id)
    assert ContactScore.objects.get(contact=one).points == 15
    together = everything(workspace)
    assert_sound(workspace)
    load("events", EVENTS)
    load("contacts", CONTACTS[:1])
    apply_effects(workspace.id)
    assert everything(workspace) == together
    undo_merge(workspace.id, merge)
    apply_effects(workspace.id)
    assert everything(workspace) == apart
    assert_sound(workspace)


def test_rows_about_merged_contacts_are_about_the_person(workspace, load):
    one, two = a_contact(workspace, "one@x.test"), a_contact(workspace, "two@x.test")
    merge = merge_contacts(workspace.id, one, two)
    load("contacts", CONTACTS)
    load("events", EVENTS)
    person = with_details(Contact.objects.filter(id=one.id), companies=True).get()
    assert (person.first_name, person.last_name, person.attributes) == (
        "One",
        "Two",
        {"plan": "free", "seats": 2},
    )
    assert (person.email, person.phone, sorted(person.tag_names)) == ("one@x.test", "+4930123456", ["a", "b"])
    assert not Contact.objects.exclude(id__in=(one.id, two.id)).exists()
    assert ContactScore.objects.get(contact=one).points == 15
    undo_merge(workspace.id, merge)
    apply_effects(workspace.id)
    events = dict(Event.objects.filter(source="import").values_list("message_id", "contact_id"))
    # Each event belongs to the contact that it came with; the phone was told of the person, and stays.
    assert events == {"1": one.id, "2": one.id, "3": two.id}
    other = with_details(Contact.objects.filter(id=two.id)).get()
    assert (other.last_name, other.attributes, other.tag_names) == ("", {}, [])
    assert_sound(workspace)


@pytest.mark.parametrize("kind", FORMS)
@pytest.mark.parametrize("is_merged", [False, True], ids=["apart", "merged"])
def test_an_erased_person_comes_back_by_no_file(workspace, load, tmp_path, kind, is_merged):
    """Not by the file they came by, nor by what was refused of it, nor by an export, nor by the quarantine."""
    load("contacts", CONTACTS)
    bad = {"event": "x" * 300, "timestamp": DAY, "email": "two@x.test", "messageId": "4"}
    load("events", [*EVENTS, bad])
    assert RefusedEvent.objects.count() == 1
    for exported in FORMS:
        run(f"export_{exported}", tmp_path / f"out-{exported}.csv", workspace)
    two = find_contact(workspace, "two@x.test")
    if is_merged:
        merge_contacts(workspace.id, find_contact(workspace, "one@x.test"), two)
    erase_person(workspace.id, two)
    left = everything(workspace)
    assert len(left) == (0 if is_merged else 1)
    assert not RefusedEvent.objects.exists()
    rows = CONTACTS if kind == "contacts" else [*EVENTS, bad]
    gone = len(rows) - len(
        [row for row in rows if row["email" if "email" in row else "phone"] == "one@x.test"]
    )
    gone = len(rows) if is_merged else gone
    status, out, _ = load(kind, rows)
    assert (status, f"{gone} refused" in out) == (1, True)
    refused, word = Import.objects.latest("id").refused_file, "known" if kind == "contacts" else "repeated"
    assert {"erased" in row["cause"] or "name" in row["cause"] for row in refused_rows()} == {True}
    assert run(f"import_{kind}", refused, workspace)[1].endswith(f" 0 {word}, {gone} refused")
    assert run(f"import_{kind}", tmp_path / f"out-{kind}.csv", workspace)[0] == 1
    assert not RefusedEvent.objects.exists()
    call_command("replay_refused")
    apply_effects(workspace.id)
    assert everything(workspace) == left
    assert_sound(workspace)


def test_a_row_that_names_an_erased_person_beside_somebody_else_gives_nobody_their_identifier(
    workspace, load
):
    alive, gone = a_contact(workspace, "alive@x.test"), a_contact(workspace, "gone@x.test")
    erase_person(workspace.id, gone)
    row = {"email": "alive@x.test", "identifiers": [{"kind": "email", "value": "gone@x.test"}]}
    assert load("contacts", [{**row, "first_name": "Else"}])[0] == 1
    load("events", [{**row, "event": "buy", "timestamp": DAY}])
    assert set(Identifier.objects.values_list("value", flat=True)) == {"alive@x.test"}
    assert get_contact(workspace.id, alive.id).first_name == ""


@pytest.mark.parametrize("kind", FORMS)
def test_an_erased_person_whom_nothing_identified_does_not_come_back_by_an_export(
    workspace, load, tmp_path, kind
):
    """Such a contact is exported with its id in place of an identifier."""
    nobody = a_contact(workspace, first_name="No", last_name="body")
    load("events", [{"event": "buy", "timestamp": DAY, "contact_id": str(nobody.id)}])
    path = tmp_path / "out.csv"
    run(f"export_{kind}", path, workspace)
    assert str(nobody.id) in path.read_text()
    erase_person(workspace.id, nobody)
    assert run(f"import_{kind}", path, workspace)[0] == 1
    assert not Contact.objects.exists()


def test_an_identifier_that_somebody_else_has_stays_with_them(workspace, load):
    """The first that is known finds the contact, in contacts and in events alike."""
    one = a_contact(workspace, "one@x.test")
    two = a_contact(workspace, "two@x.test", identifiers=(("external_id", "2"), ("phone", "+4930123456")))
    row = {"email": "one@x.test", "external_id": "2", "phone": "+4930123456", "anonymous_id": "new"}
    assert load("contacts", [{**row, "first_name": "One"}])[0] == 0
    load("events", [{**row, "event": "buy", "timestamp": DAY, "anonymous_id": "newer"}])
    owners = dict(Identifier.objects.values_list("value", "contact_id"))
    assert owners == {
        "one@x.test": one.id,
        "new": one.id,
        "two@x.test": two.id,
        "2": two.id,
        "+4930123456": two.id,
    }
    assert get_contact(workspace.id, one.id).first_name == "One"
    assert Event.objects.get(name="buy").contact_id == one.id


def test_rows_of_one_file_that_share_an_identifier_are_one_contact(workspace, load):
    rows = [
        {"email": "a@x.test", "external_id": "1", "first_name": "A"},
        {"external_id": "1", "phone": "+4930123456", "plan": "pro"},
        {"phone": "+4930123456", "email": "b@x.test", "last_name": "B"},
        {"email": "b@x.test", "external_id": "9"},
    ]
    assert load("contacts", rows)[1].endswith("4 rows, 1 made, 3 known, 0 refused")
    person = with_details(Contact.objects.all()).get()
    assert (person.first_name, person.last_name, person.attributes) == ("A", "B", {"plan": "pro"})
    assert set(Identifier.objects.values_list("value", flat=True)) == {
        "a@x.test", "b@x.test", "1", "9", "+4930123456",
    }  # fmt: skip


def test_an_erased_persons_company_stays_and_has_nobody(workspace, load):
    load("contacts", CONTACTS)
    erase_person(workspace.id, find_contact(workspace, "one@x.test"))
    assert Company.objects.get().memberships.count() == 0
