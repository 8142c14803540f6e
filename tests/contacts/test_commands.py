"""merge_contacts and undo_merge."""

from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from contacts.models import Contact, Merge
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory


@pytest.fixture
def people(workspace):
    return [a_contact(workspace, f"p{number}@example.test") for number in range(4)]


def run(command, *arguments, **options):
    out, errors = StringIO(), StringIO()
    try:
        call_command(command, *map(str, arguments), stdout=out, stderr=errors, **options)
    except CommandError as error:
        errors.write(str(error))
    return out.getvalue().strip(), errors.getvalue()


def test_pairs_are_merged_by_id_or_identity_and_once(workspace, people):
    one, two, three, _ = people
    pairs = [one.id, two.id, "p0@example.test", "p2@example.test"]
    assert run("merge_contacts", *pairs, workspace=workspace.id, by="clean-up") == (
        "2 merged, 0 were already, 0 refused",
        "",
    )
    assert {(merge.survivor_id, merge.merged_id, merge.by) for merge in Merge.objects.all()} == {
        (one.id, two.id, "clean-up"),
        (one.id, three.id, "clean-up"),
    }
    assert run("merge_contacts", *pairs, workspace=workspace.id)[0] == "0 merged, 2 were already, 0 refused"


def test_a_file_gives_pairs(workspace, people, tmp_path):
    file = tmp_path / "pairs.csv"
    file.write_text(
        f"\ufeffsurvivor,merged\n{people[0].id}, {people[1].id}\n\np2@example.test,p3@example.test\n"
    )
    assert run("merge_contacts", workspace=workspace.id, csv=str(file))[0].startswith("2 merged")
    file.write_text("survivor,merged\nonly one\n")
    assert "Line 2 is no pair" in run("merge_contacts", workspace=workspace.id, csv=str(file))[1]


def test_a_refused_pair_leaves_the_others_alone_and_shows(workspace, people):
    out, errors = run(
        "merge_contacts", people[0].id, uuid4(), people[0].id, people[1].id, workspace=workspace.id
    )
    assert out == "1 merged, 0 were already, 1 refused"
    assert "Contact not found" in errors
    assert "Some pairs were refused" in errors


def test_a_dry_run_tells_and_does_nothing(workspace, people):
    pair = (people[0].id, people[1].id)
    out, _ = run("merge_contacts", *pair, workspace=workspace.id, dry_run=True)
    assert out == "1 would be merged, 0 were already, 0 refused"
    assert not Merge.objects.exists()
    run("merge_contacts", *pair, workspace=workspace.id)
    merge = Merge.objects.get()
    assert run("undo_merge", merge.id, dry_run=True)[0].endswith("1 would be undone, 0 refused")
    assert Contact.objects.exclude(merged_into=None).count() == 1


def test_merges_are_undone_by_id(workspace, people):
    run("merge_contacts", people[0].id, people[1].id, workspace=workspace.id)
    merge = Merge.objects.get()
    assert run("undo_merge", merge.id)[0].endswith("1 undone, 0 refused")
    assert not Contact.objects.exclude(merged_into=None).exists()
    out, errors = run("undo_merge", merge.id, uuid4())
    assert out.endswith("0 undone, 2 refused")
    assert "was undone already" in errors
    assert "there is no such merge" in errors


@pytest.mark.parametrize("arguments", [["x"], []])
def test_what_makes_no_sense_is_refused(workspace, arguments):
    assert "There is no workspace" in run("merge_contacts", *arguments, workspace=uuid4())[1]
    if arguments:
        assert "Give pairs" in run("merge_contacts", *arguments, workspace=workspace.id)[1]


def test_another_workspaces_contacts_are_not_merged(workspace, people):
    foreign = a_contact(WorkspaceFactory.create())
    assert "Contact not found" in run("merge_contacts", people[0].id, foreign.id, workspace=workspace.id)[1]
