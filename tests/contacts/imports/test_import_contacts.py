"""import_contacts: every row makes a contact or changes the one that it names."""

import json

import pytest

from contacts.models import Contact, Import
from contacts.queries import with_details
from events.models import EffectsLevel, Event, EventBatch
from tests.contacts.factories import a_contact
from tests.contacts.imports.files import refused_rows, run, run_and_kill

pytestmark = pytest.mark.django_db


@pytest.fixture
def load(tmp_path, workspace):
    """Return what imports a text."""

    def load(content, filename="file", **options):
        path = tmp_path / filename
        path.write_text(content)
        return run("import_contacts", path, workspace, **options)

    return load


def contacts():
    """Return all contacts by their e-mail address."""
    return {contact.email: contact for contact in with_details(Contact.objects.all())}


def test_a_row_makes_a_contact_with_all_that_it_says(load):
    assert load(
        "Email;Phone;First name;last_name;Tags;consents.email;plan\n"
        "Ada@X.test;+49 30 1234567;Ada;L;a, b;subscribed;pro\n"
    ) == (0, "file: 1 rows, 1 made, 0 known, 0 refused", "")
    ada = contacts()["ada@x.test"]
    assert (
        ada.first_name,
        ada.last_name,
        ada.phone,
        ada.tag_names,
        ada.attributes,
        ada.consent("email"),
    ) == (
        "Ada",
        "L",
        "+49301234567",
        ["a", "b"],
        {"plan": "pro"},
        "opted_in",
    )


def test_a_row_changes_the_contact_that_it_names_and_leaves_what_it_does_not_say(workspace, load):
    a_contact(
        workspace, "ada@x.test", first_name="Ada", attributes={"plan": "free", "seats": 3}, tags=("old",)
    )
    assert "0 made, 1 known" in load("email,first_name,plan,tags\nada@x.test,,pro,new\n")[1]
    ada = contacts()["ada@x.test"]
    assert (ada.first_name, ada.attributes, ada.tag_names) == (
        "Ada",
        {"plan": "pro", "seats": 3},
        ["old", "new"],
    )


def test_the_same_file_twice_changes_nothing(load):
    content = "email,plan\n" + "".join(f"p{n}@x.test,pro\n" for n in range(30))
    assert "30 made, 0 known" in load(content)[1]
    events = Event.objects.count()
    assert "0 made, 30 known" in load(content)[1]
    assert (Contact.objects.count(), Event.objects.count()) == (30, events)


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("nobody,,", "not a valid email"),
        (",Ada,", "Nothing identifies"),
        ("a@x.test," + "x" * 300 + ",", "first_name"),
        ("a@x.test,Ada,maybe", "is no consent"),
    ],
)
def test_bad_rows_are_refused_with_their_cause(load, row, cause):
    status, out, _ = load(f"email,first_name,consents.email\n{row}\ngood@x.test,,\n")
    assert (status, out) == (1, "file: 2 rows, 1 made, 0 known, 1 refused")
    (refused,) = refused_rows()
    assert refused["line"] == 2
    assert cause in refused["cause"]


@pytest.mark.parametrize(
    ("effects", "levels"),
    [
        ("none", set()),
        ("scores-and-segments", {EffectsLevel.SCORES_AND_SEGMENTS}),
        ("all", {EffectsLevel.ALL}),
    ],
)
def test_effects_are_as_far_as_is_said(load, effects, levels):
    load("email\na@x.test\n", effects=effects)
    assert Event.objects.filter(name="contact.created").count() == 1
    assert {batch.level for batch in EventBatch.objects.all()} == levels


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_killed_three_times_every_row_is_decided_once(workspace, tmp_path):
    count = 600
    rows = [{"email": f"p{n}@x.test" if n % 7 != 3 else "nobody", "n": n} for n in range(count)]
    path = tmp_path / "contacts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for share in (0.1, 0.4, 0.7):
        assert run_and_kill("import_contacts", path, workspace, path.stat().st_size * share, batch_size=5)
        assert 0 < Import.objects.get().rows < count
    refused = sum(1 for n in range(count) if n % 7 == 3)
    assert run("import_contacts", path, workspace)[1] == (
        f"contacts.jsonl: {count:,} rows, {count - refused:,} made, 0 known, {refused:,} refused"
    )
    assert [row["line"] for row in refused_rows()] == [n + 1 for n in range(count) if n % 7 == 3]
    assert {contact.attributes["n"] for contact in Contact.objects.all()} == {
        n for n in range(count) if n % 7 != 3
    }
    assert Event.objects.filter(name="contact.created").count() == count - refused
