"""Uploaded files: workers import them slice by slice, whatever is killed, and each row is decided once."""

import gzip
import io
import json
import os
from datetime import timedelta

import pytest
from django.core.files.base import File
from django.core.files.storage import InMemoryStorage, storages

from config import clock
from config.files.errors import DamagedFile, FileTooLarge, InvalidMapping, UnreadableFile, UploadNotStored
from config.files.received import receive
from contacts import tasks
from contacts.erasure.erasures import erase_person
from contacts.errors import ImportEnded, ImportRunning
from contacts.imports import refused_rows, uploads
from contacts.imports.uploads import cancel_import, idle_workspaces, purge_uploads
from contacts.models import Contact, Import, RefusedRow
from events.models import Event
from tests.contacts.factories import a_contact
from tests.contacts.imports.files import run
from tests.contacts.imports.uploads import (
    counts,
    in_small_batches,
    refused,
    upload,
    work,
    work_and_be_killed,
    work_in_a_child,
)
from tests.workspaces.factories import WorkspaceFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("uploads_folder")]


def people(count, bad=()):
    """Return a file of contacts, those of some numbers without a usable address."""
    rows = (f"{'nobody' if n in bad else f'p{n}@x.test'},{n}\n" for n in range(count))
    return "email,n\n" + "".join(rows)


def stored(folder):
    """Return the names of the files in the storage."""
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_worker_imports_an_upload(workspace, uploads_folder):
    queued = upload(workspace, people(30, bad={7}))
    assert (queued.status, queued.name, queued.origin) == ("queued", "file.csv", "api")
    assert len(stored(uploads_folder)) == 1
    assert Contact.objects.count() == 0
    assert work(workspace) == ["done"]
    assert counts(queued) == ("done", 30, 29, 0, 1)
    assert queued.progress == 1.0
    assert Contact.objects.count() == 29
    (row,) = refused(queued)
    assert (row["line"], row["row"]) == (9, {"email": "nobody", "n": "7"})
    assert "not a valid email" in row["cause"]
    assert work(workspace) == ["nothing"]


def test_an_upload_of_parquet_tells_how_far_it_is(workspace, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    content = io.BytesIO()
    parquet.write_table(arrow.table({"email": [f"p{n}@x.test" for n in range(40)]}), content)
    in_small_batches(monkeypatch, 10, seconds=0)
    queued = upload(workspace, content.getvalue())
    assert (queued.size, queued.progress) == (40, 0.0)
    uploads.continue_uploads(workspace.id, at_most_seconds=0)
    assert (counts(queued)[:2], queued.progress) == (("running", 10), 0.25)


def test_refused_rows_once_mended_import_with_nothing_twice(workspace):
    first = upload(workspace, people(10, bad={3}))
    work(workspace)
    (row,) = refused(first)
    row["row"]["email"] = "mended@x.test"
    second = upload(workspace, json.dumps(row), name="mended.jsonl")
    work(workspace)
    assert counts(second) == ("done", 1, 1, 0, 0)
    assert Contact.objects.count() == 10


def test_no_more_refused_rows_are_kept_than_is_useful(workspace, monkeypatch):
    monkeypatch.setattr(refused_rows, "MOST_KEPT", 5)
    in_small_batches(monkeypatch, 3)
    queued = upload(workspace, people(20, bad=set(range(20))))
    work(workspace)
    assert counts(queued) == ("done", 20, 0, 0, 20)
    assert [row["line"] for row in refused(queued)] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("content", "encoded"),
    [
        ("email,first name\nada@x.test,Ädä\n", lambda text: gzip.compress(text.encode())),
        ("email,first name\nada@x.test,Ädä\n", lambda text: text.encode("utf-16")),
        ("email,first name\nada@x.test,Ädä\n", lambda text: gzip.compress(text.encode("utf-16"))),
        ('{"email": "ada@x.test", "first name": "Ädä"}\n', str.encode),
    ],
    ids=["gzip", "utf-16", "gzip of utf-16", "json lines"],
)
def test_an_upload_is_stored_so_that_workers_can_go_on_anywhere(workspace, uploads_folder, content, encoded):
    queued = upload(workspace, encoded(content))
    (path,) = stored(uploads_folder)
    assert path.read_text("utf-8").removeprefix("\ufeff") == content
    assert queued.size == path.stat().st_size
    assert path.stat().st_mode & 0o777 == 0o600
    work(workspace)
    assert Contact.objects.get().first_name == "Ädä"


def test_a_named_encoding_and_delimiter_count(workspace):
    upload(workspace, "email#first name\na@x.test#Ädä\n".encode("latin-1"), encoding="latin-1", delimiter="#")
    work(workspace)
    assert Contact.objects.get().first_name == "Ädä"


@pytest.mark.parametrize(
    ("content", "options", "error"),
    [
        ('[{"email": "a@x.test"}]', {}, UnreadableFile),
        ("email,email\na@x.test,b@x.test\n", {}, UnreadableFile),
        (gzip.compress(people(2_000).encode())[:-20], {}, DamagedFile),
        ("email\na@x.test\n", {"encoding": "klingon"}, UnreadableFile),
        ("email\na@x.test\n", {"map": "contacts: {email: {colum: E}}"}, InvalidMapping),
        ("email\na@x.test\n", {"map": "nobody"}, InvalidMapping),
        ("email\na@x.test\n", {"map": "contacts: &a {email: E, tags: *a}"}, InvalidMapping),
        ("email\na@x.test\n", {"map": "contacts: {email: {value: [.nan]}}"}, InvalidMapping),
        ("email\na@x.test\n", {"map": "contacts: {email: {column: E, type: [text]}}"}, InvalidMapping),
        ("email\na@x.test\n", {"map": "contacts: {1: a, x: b}"}, InvalidMapping),
    ],
    ids=[
        *("array", "header", "cut gzip", "encoding", "option", "no vendor"),
        *("alias", "nan", "type", "field"),
    ],
)
def test_what_cannot_be_imported_is_refused_at_once_and_not_stored(
    workspace, uploads_folder, content, options, error
):
    with pytest.raises(error):
        upload(workspace, content, **options)
    assert stored(uploads_folder) == []
    assert not Import.objects.exists()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["sent", "unpacked"])
def test_a_file_is_at_most_so_large(workspace, uploads_folder, pack):
    with pytest.raises(FileTooLarge):
        receive(io.BytesIO(pack(b"email\n" + b"a" * 2_000_000)), "file", 1_000_000)
    assert stored(uploads_folder) == []


def test_a_map_is_a_document_or_a_vendors_name(workspace):
    upload(workspace, "E-Mail,Plan\nada@x.test,pro\n", map='{"contacts": {"email": "E-Mail"}}')
    upload(workspace, "user_id,uuid\nu1,7\n", map="segment")
    work(workspace)
    ada, other = Contact.objects.order_by("id")
    assert ada.attributes == {}
    assert other.identifiers.get().value == "u1"


def test_a_map_of_an_unknown_vendor_says_which_there_are(workspace):
    with pytest.raises(InvalidMapping, match="hubspot is none of the vendors autosend, campaignos"):
        upload(workspace, "email\nada@x.test\n", map="hubspot")


def test_a_dry_run_decides_all_rows_and_records_nothing(workspace, monkeypatch):
    in_small_batches(monkeypatch, 4, seconds=0)
    a_contact(workspace, "p1@x.test")
    events = Event.objects.count()
    queued = upload(workspace, people(20, bad={7}), dry_run=True)
    assert len(work(workspace)) > 4
    assert counts(queued) == ("done", 20, 18, 1, 1)
    assert (Contact.objects.count(), Event.objects.count()) == (1, events)
    assert len(refused(queued)) == 1
    real = upload(workspace, people(20, bad={7}))
    work(workspace)
    assert counts(real) == ("done", 20, 18, 1, 1)


def test_a_workers_slice_is_bounded_and_the_next_one_goes_on(workspace, monkeypatch):
    in_small_batches(monkeypatch, 10, seconds=0)
    queued = upload(workspace, people(45))
    # The last one finds that nothing is left.
    assert work(workspace) == ["more"] * 5 + ["done"]
    assert counts(queued) == ("done", 45, 45, 0, 0)


def test_a_workspaces_uploads_go_in_their_order(workspace, monkeypatch):
    in_small_batches(monkeypatch, 10, seconds=0)
    first, second = upload(workspace, people(30)), upload(workspace, people(40))
    assert uploads.continue_uploads(workspace.id, at_most_seconds=0) == "more"
    assert counts(second)[0] == "queued"
    work(workspace)
    assert counts(first)[:3] == ("done", 30, 30)
    assert counts(second) == ("done", 40, 10, 30, 0)


def test_the_same_file_is_not_imported_twice_at_once(workspace, tmp_path):
    queued = upload(workspace, people(5))
    with pytest.raises(ImportRunning) as raised:
        upload(workspace, people(5))
    assert raised.value.import_id == queued.id
    path = tmp_path / "file.csv"
    path.write_text(people(5))
    status, _, errors = run("import_contacts", path, workspace)
    assert (status, "Another process" in errors) == (1, True)
    work(workspace)
    assert "0 made, 5 known" in run("import_contacts", path, workspace)[1]
    assert Import.objects.count() == 2


def test_what_a_command_is_at_is_not_taken_by_an_upload_and_what_died_is(workspace):
    content = people(5)
    done = upload(workspace, content)
    work(workspace)
    # As a command has it that imports the same file.
    Import.objects.update(origin="command", status="running", upload="")
    with pytest.raises(ImportRunning):
        upload(workspace, content)
    assert work(workspace) == ["nothing"]
    Import.objects.update(updated_at=clock.now() - timedelta(seconds=61))
    queued = upload(workspace, content)
    work(workspace)
    assert counts(queued) == ("done", 5, 0, 5, 0)
    assert counts(done)[0] == "running"


def test_a_cancelled_import_ends_before_its_next_batch(workspace, monkeypatch):
    in_small_batches(monkeypatch, 10, seconds=0)
    queued = upload(workspace, people(50))
    uploads.continue_uploads(workspace.id, at_most_seconds=0)
    cancel_import(workspace.id, queued)
    assert work(workspace) == ["nothing"]
    assert counts(queued) == ("cancelled", 10, 10, 0, 0)
    assert queued.finished_at is not None
    with pytest.raises(ImportEnded):
        cancel_import(workspace.id, queued)
    again = upload(workspace, people(50))
    work(workspace)
    assert counts(again) == ("done", 50, 40, 10, 0)


def test_an_import_that_is_cancelled_while_a_worker_is_at_it_goes_no_further(workspace, monkeypatch):
    in_small_batches(monkeypatch, 10)
    queued = upload(workspace, people(50))
    real = uploads.continue_import

    def cancel_after_first(run, file, kind, terms, *, on_progress):
        def progress(run):
            Import.objects.filter(id=run.id).exists() and run.rows == 10 and cancel_import(
                workspace.id, queued
            )
            return True

        return real(run, file, kind, terms, on_progress=progress)

    monkeypatch.setattr(uploads, "continue_import", cancel_after_first)
    assert work(workspace) == ["done"]
    assert counts(queued) == ("cancelled", 10, 10, 0, 0)


def test_a_file_that_cannot_be_read_now_is_read_later(workspace, uploads_folder):
    queued = upload(workspace, people(5))
    (path,) = stored(uploads_folder)
    path.rename(path.with_name("away"))
    with pytest.raises(FileNotFoundError):
        work(workspace)
    status, *_ = counts(queued)
    assert (status, "No such file" in queued.error) == ("running", True)
    assert work(workspace) == ["nothing"]
    path.with_name("away").rename(path)
    Import.objects.update(updated_at=clock.now() - timedelta(seconds=16))
    assert idle_workspaces() == [workspace.id]
    work(workspace)
    assert counts(queued) == ("done", 5, 5, 0, 0)
    assert queued.error == ""


def test_what_nobody_is_at_is_taken_up(workspace, monkeypatch):
    sent = []
    monkeypatch.setattr(tasks.continue_uploads, "apply_async", lambda args, **_: sent.append(args))
    other = WorkspaceFactory.create()
    upload(workspace, people(5))
    upload(other, people(5))
    assert tasks.continue_idle_uploads() == "nothing"
    Import.objects.filter(workspace=workspace).update(updated_at=clock.now() - timedelta(seconds=16))
    assert tasks.continue_idle_uploads() == "done"
    assert sent == [(str(workspace.id),)]


def test_a_storage_that_is_no_folder_serves_too(workspace, settings, monkeypatch):
    settings.STORAGES = {
        **settings.STORAGES,
        "uploads": {"BACKEND": "django.core.files.storage.InMemoryStorage"},
    }
    assert isinstance(storages["uploads"], InMemoryStorage)
    opened = []
    real = InMemoryStorage._open
    monkeypatch.setattr(
        InMemoryStorage, "_open", lambda self, name, mode="rb": opened.append(name) or real(self, name, mode)
    )
    in_small_batches(monkeypatch, 10, seconds=0)
    queued = upload(workspace, people(45))
    work(workspace)
    assert counts(queued) == ("done", 45, 45, 0, 0)
    assert len(opened) == 1
    assert purge_uploads() == 0
    Import.objects.update(finished_at=clock.now() - timedelta(days=8))
    assert purge_uploads() == 1


def test_uploads_and_refused_rows_are_kept_for_a_while(workspace, uploads_folder, settings):
    settings.UPLOAD_DAYS = 2
    queued = upload(workspace, people(10, bad={1}))
    work(workspace)
    Import.objects.update(finished_at=clock.now() - timedelta(days=2, seconds=-60))
    assert tasks.purge_uploads() == "nothing"
    assert (len(stored(uploads_folder)), RefusedRow.objects.count()) == (1, 1)
    Import.objects.update(finished_at=clock.now() - timedelta(days=2, seconds=1))
    assert tasks.purge_uploads() == "done"
    assert (list(uploads_folder.iterdir()), RefusedRow.objects.count()) == ([], 0)
    assert counts(queued) == ("done", 10, 9, 0, 1)
    assert tasks.purge_uploads() == "nothing"


def test_files_of_no_import_are_deleted_a_deleted_workspaces_too(workspace, uploads_folder):
    other = WorkspaceFactory.create()
    upload(workspace, people(3))
    upload(other, people(3))
    kept, gone = sorted(stored(uploads_folder), key=lambda path: path.parent.name != str(workspace.id))
    other.delete()
    assert purge_uploads() == 0
    old = (clock.now() - timedelta(hours=2)).timestamp()
    for path in (kept, gone):
        os.utime(path, (old, old))
    assert purge_uploads() == 1
    assert stored(uploads_folder) == [kept]


def test_who_was_erased_is_refused_and_what_names_them_is_not_kept(workspace, uploads_folder):
    erase_person(workspace.id, a_contact(workspace, "jane@x.test"))
    content = "email,n,consents.email\nJANE@x.test,1,\nann@x.test,2,\n bob@x.test,x,JANE@x.test\n"
    queued = upload(workspace, content)
    work(workspace)
    assert counts(queued) == ("done", 3, 1, 0, 2)
    assert Contact.objects.get().email == "ann@x.test"
    assert [set(row) for row in refused(queued)] == [{"line", "cause"}] * 2
    assert "jane" not in str(refused(queued)).lower()
    assert stored(uploads_folder) == []


@pytest.mark.parametrize(
    "line",
    [b"JANE@x.test;J\xf6rg\n", b'"jane@x.test;1\n', b"+49 301234567;\x00\n"],
    ids=["encoding", "quote", "phone"],
)
def test_a_line_that_cannot_be_read_and_names_who_was_erased_is_not_kept(workspace, line):
    erase_person(workspace.id, a_contact(workspace, "jane@x.test", identifiers=(("phone", "+49301234567"),)))
    queued = upload(workspace, b"email;n\nann@x.test;\xf6\n" + line)
    work(workspace)
    ann, jane = refused(queued)
    assert ann["text"] == "ann@x.test;\\xf6\n"
    assert set(jane) == {"line", "cause"}


def test_an_erasure_takes_uploads_and_refused_rows_along(
    workspace, uploads_folder, django_capture_on_commit_callbacks
):
    jane = a_contact(workspace, "jane@x.test", identifiers=(("phone", "+49301234567"),))
    rows = "email,consents.email\njane@x.test,maybe\nnobody,\n0049 (30) 1234567,\n"
    over = upload(workspace, rows)
    work(workspace)
    assert counts(over) == ("done", 3, 0, 0, 3)
    waiting = upload(workspace, people(3))
    with django_capture_on_commit_callbacks(execute=True):
        erasure = erase_person(workspace.id, jane)
    assert (erasure.removed["uploads"], erasure.removed["refusedRows"]) == (1, 2)
    assert [row["line"] for row in refused(over)] == [3]
    (left,) = stored(uploads_folder)
    assert left.name == str(waiting.id)
    work(workspace)
    # It was there when somebody was erased, and may say so.
    assert stored(uploads_folder) == []


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_whatever_worker_is_killed_every_row_is_decided_once(workspace, monkeypatch):
    in_small_batches(monkeypatch, 5)
    count, bad = 600, {n for n in range(600) if n % 7 == 3}
    queued = upload(workspace, people(count, bad))
    for share in (0.1, 0.4, 0.7):
        assert work_and_be_killed(workspace, queued.size * share)
        assert 0 < counts(queued)[1] < count
    work(workspace)
    assert counts(queued) == ("done", count, count - len(bad), 0, len(bad))
    assert [row["line"] for row in refused(queued)] == [n + 2 for n in sorted(bad)]
    assert {contact.attributes["n"] for contact in Contact.objects.all()} == {
        str(n) for n in range(count) if n not in bad
    }
    assert Event.objects.filter(name="contact.created").count() == count - len(bad)


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_two_workers_at_one_import_each_row_is_decided_once(workspace, monkeypatch):
    in_small_batches(monkeypatch, 5)
    queued = upload(workspace, people(400, bad={5, 395}))
    children = [work_in_a_child(workspace) for _ in range(2)]
    ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert ended == [0, 0]
    work(workspace)
    assert counts(queued) == ("done", 400, 398, 0, 2)
    assert [row["line"] for row in refused(queued)] == [7, 397]
    assert Contact.objects.count() == 398


class Remote(InMemoryStorage):
    """As an object store has it: no path, errors of its own, away now and then, also in the middle of a file."""

    is_away = False
    left = None

    def _ask(self):
        if Remote.is_away:
            raise RemoteError("EndpointConnectionError")

    def _save(self, name, content):
        self._ask()
        return super()._save(name, content)

    def _open(self, name, mode="rb"):
        self._ask()
        return Breaking(super()._open(name, mode))

    def delete(self, name):
        self._ask()
        super().delete(name)


class RemoteError(Exception):
    """What clients of object stores raise is no OSError."""


class Breaking(File):
    def read(self, size=-1):
        if Remote.left is not None:
            Remote.left -= 1
            if Remote.left < 0:
                raise RemoteError("IncompleteRead")
        return super().read(min(size, 100) if size > 0 else size)


@pytest.fixture
def remote(settings, monkeypatch):
    """Have uploads in a storage that is far away."""
    settings.STORAGES = {**settings.STORAGES, "uploads": {"BACKEND": f"{__name__}.Remote"}}
    uploads._fetched.drop()
    monkeypatch.setattr(Remote, "is_away", False)
    monkeypatch.setattr(Remote, "left", None)
    yield Remote
    uploads._fetched.drop()


def test_a_storage_that_is_away_takes_no_file(workspace, remote):
    remote.is_away = True
    with pytest.raises(UploadNotStored, match="EndpointConnectionError"):
        upload(workspace, people(5))
    assert not Import.objects.exists()


def test_a_file_that_breaks_off_on_its_way_from_the_storage_comes_later_as_a_whole(
    workspace, remote, monkeypatch
):
    in_small_batches(monkeypatch, 10)
    queued = upload(workspace, people(50, bad={3}))
    remote.left = 3
    with pytest.raises(OSError, match="IncompleteRead"):
        work(workspace)
    assert (counts(queued)[:2], "IncompleteRead" in queued.error) == (("running", 0), True)
    remote.left = None
    Import.objects.update(updated_at=clock.now() - timedelta(seconds=16))
    work(workspace)
    assert counts(queued) == ("done", 50, 49, 0, 1)


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_deleted_now_is_deleted_later_and_holds_up_no_other(workspace, remote, monkeypatch):
    runs = [upload(workspace, people(count)) for count in (3, 4)]
    work(workspace)
    Import.objects.update(finished_at=clock.now() - timedelta(days=8))
    delete = Remote.delete
    monkeypatch.setattr(
        Remote, "delete", lambda self, name: (name.endswith(str(runs[0].id)) and 1 / 0) or delete(self, name)
    )
    with pytest.raises(OSError, match="ZeroDivisionError"):
        purge_uploads()
    assert [run.upload for run in Import.objects.order_by("id")] == [runs[0].upload, ""]
    monkeypatch.setattr(Remote, "delete", delete)
    assert purge_uploads() == 1
