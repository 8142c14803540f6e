"""Erasures kept apart from the database take everybody away again whom a backup brings back."""

import json

import pytest
from django.core.management import CommandError, call_command
from django.db import transaction

from contacts.erasure.erasures import erase_person
from contacts.merging import reassignment
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.merging.reassignment import finish_merge
from contacts.models import Contact, ErasedIdentifier, Erasure
from contacts.tombstones import delete_tombstones
from tests.contacts.factories import a_contact
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return WorkspaceFactory.create()


@pytest.fixture
def kept(tmp_path):
    return tmp_path / "erasures"


class Backup:
    """The database as it is now, to come back to."""

    def __init__(self):
        self.point = transaction.savepoint()

    def restore(self):
        transaction.savepoint_rollback(self.point)


def reapply(kept):
    call_command("reapply_erasures", "--from", str(kept))


def test_who_was_erased_since_the_backup_is_erased_again(workspace, kept, capsys):
    ada, bob = a_contact(workspace, "ada@example.test"), a_contact(workspace, "bob@example.test")
    backup = Backup()
    receipt = erase_person(workspace.id, ada, by="a request")
    call_command("export_erasures", str(kept))
    backup.restore()
    assert Contact.objects.filter(id=ada.id).exists()

    reapply(kept)

    assert set(Contact.objects.values_list("id", flat=True)) == {bob.id}
    assert "1 persons erased again" in capsys.readouterr().out
    again = Erasure.objects.get(id=receipt.id)
    assert (again.by, again.erased_at, again.removed) == ("a request", receipt.erased_at, receipt.removed)
    with pytest.raises(Exception, match="was erased"):
        a_contact(workspace, "ada@example.test")
    reapply(kept)
    assert "0 tombstones added, 0 persons" in capsys.readouterr().out


def test_a_backup_from_amid_an_undo_brings_nobody_back(workspace, kept, monkeypatch):
    monkeypatch.setattr(reassignment, "MOST_AT_ONCE", -1)
    ada, bob = a_contact(workspace, "ada@example.test"), a_contact(workspace, "bob@example.test")
    merge = merge_contacts(workspace.id, ada, bob)
    finish_merge(merge)
    assert undo_merge(workspace.id, merge).status == "running"
    backup = Backup()
    finish_merge(merge)
    erase_person(workspace.id, ada)
    call_command("export_erasures", str(kept))
    backup.restore()

    reapply(kept)

    assert list(Contact.objects.values_list("id", flat=True)) == [bob.id]


def test_what_is_kept_names_nobody(workspace, kept):
    ada = a_contact(workspace, "ada@example.test", first_name="Ada")
    erase_person(workspace.id, ada)
    call_command("export_erasures", str(kept))
    assert "ada" not in kept.read_text().lower()
    assert kept.stat().st_mode & 0o077 == 0


def test_a_contact_that_came_in_under_another_id_is_known_by_its_identifier(workspace, kept):
    backup = Backup()
    erase_person(workspace.id, a_contact(workspace, "ada@example.test"))
    call_command("export_erasures", str(kept))
    backup.restore()
    a_contact(workspace, "ada@example.test")
    a_contact(WorkspaceFactory.create(), "ada@example.test")

    reapply(kept)

    assert not Contact.objects.filter(workspace=workspace).exists()
    assert Contact.objects.count() == 1, "another tenant's contact is not concerned"


def test_whoever_was_let_in_again_stays(workspace, kept):
    backup = Backup()
    erase_person(workspace.id, a_contact(workspace, "ada@example.test"))
    delete_tombstones(workspace.id, [("email", "ada@example.test")])
    call_command("export_erasures", str(kept))
    backup.restore()
    back = a_contact(workspace, "ada@example.test")

    reapply(kept)

    assert Contact.objects.get().id == back.id


def test_a_person_merged_at_the_time_of_the_backup_with_somebody_who_stays_is_left_to_be_decided(
    workspace, kept, capsys
):
    ada, bob = a_contact(workspace, "ada@example.test"), a_contact(workspace, "bob@example.test")
    merge = merge_contacts(workspace.id, bob, ada)
    backup = Backup()
    undo_merge(workspace.id, merge)
    erase_person(workspace.id, Contact.objects.get(id=ada.id))
    call_command("export_erasures", str(kept))
    backup.restore()

    with pytest.raises(CommandError, match="to be decided"):
        reapply(kept)

    assert str(ada.id) in capsys.readouterr().err
    assert Contact.objects.filter(id=bob.id).exists()


def test_a_key_that_was_rotated_since_is_known(workspace, kept, settings):
    backup = Backup()
    erase_person(workspace.id, a_contact(workspace, "ada@example.test"))
    call_command("export_erasures", str(kept))
    backup.restore()
    a_contact(workspace, "ada@example.test")
    settings.ERASURE_KEY_FALLBACKS = [settings.ERASURE_KEY]
    settings.ERASURE_KEY = "the next one"

    reapply(kept)

    assert not Contact.objects.exists()


@pytest.mark.parametrize("spoil", ["key", "no file", "garbage"])
def test_a_file_that_would_find_nobody_is_refused(workspace, kept, settings, spoil):
    erase_person(workspace.id, a_contact(workspace, "ada@example.test"))
    call_command("export_erasures", str(kept))
    if spoil == "key":
        settings.ERASURE_KEY = "another"
    elif spoil == "no file":
        kept.unlink()
    else:
        lines = [json.loads(line) for line in kept.read_text().splitlines()]
        kept.write_text("\n".join(json.dumps(line) for line in lines[1:]))
    before = ErasedIdentifier.objects.count()
    with pytest.raises(CommandError, match="of no use"):
        reapply(kept)
    assert ErasedIdentifier.objects.count() == before
