"""Files that change while they are imported, and between two imports."""

import pytest

from contacts.imports import runner
from contacts.imports.runner import ImportRunner
from contacts.models import Import
from events.models import Event
from tests.contacts.imports.files import run
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db
HEADER = "event,timestamp,email,n\n"


def lines(since, until):
    return "".join(f"buy,2024-02-01T12:00:{n % 60:02d}Z,p{n % 9}@x.test,{n}\n" for n in range(since, until))


def numbers():
    """Return which rows were recorded, one that was recorded twice twice."""
    return sorted(int(event.properties["n"]) for event in Event.objects.filter(source="import"))


@pytest.fixture
def workspace():
    return WorkspaceFactory.create()


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(HEADER + lines(0, 50))
    return path


def after_first_batch(monkeypatch, do):
    """Do something to a file when its first batch is committed."""
    commit, calls = ImportRunner._commit, []

    def commit_and_do(self, batch):
        commit(self, batch)
        if not calls:
            calls.append(do())

    monkeypatch.setattr(ImportRunner, "_commit", commit_and_do)


def append(path, text):
    with path.open("a") as file:
        file.write(text)


def test_what_is_added_during_an_import_and_after_it_is_taken_by_the_next(workspace, log, monkeypatch):
    after_first_batch(monkeypatch, lambda: append(log, lines(50, 70)))
    assert "50 rows, 50 recorded" in run("import_events", log, workspace, batch_size=10)[1]
    append(log, lines(70, 80))
    status, out, errors = run("import_events", log, workspace, batch_size=10)
    assert (status, "30 rows, 30 recorded, 0 repeated" in out) == (0, True)
    assert "goes on at line 52" in errors
    assert "80 rows" not in run("import_events", log, workspace)[1]
    assert numbers() == list(range(80))


def test_a_line_that_was_cut_comes_again_as_a_whole(workspace, log):
    whole = log.read_text() + lines(50, 60)
    log.write_text(whole[:-12])
    assert "59 recorded" in run("import_events", log, workspace)[1]
    log.write_text(whole + lines(60, 70))
    assert "11 rows, 11 recorded" in run("import_events", log, workspace)[1]
    assert numbers() == list(range(70))


def test_a_killed_import_of_a_file_that_grows_goes_on_where_it_stopped(workspace, log, monkeypatch):
    def die():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        after_first_batch(patch, die)
        with pytest.raises(KeyboardInterrupt):
            run("import_events", log, workspace, batch_size=10)
    append(log, lines(50, 60))
    assert "Another process" in run("import_events", log, workspace)[2]
    Import.objects.update(updated_at="2024-01-01T00:00:00Z")
    assert "50 rows, 50 recorded" in run("import_events", log, workspace)[1]
    assert numbers() == list(range(60))


def test_a_file_that_begins_otherwise_is_imported_from_its_beginning_and_said_to_be(workspace, log):
    run("import_events", log, workspace)
    log.write_text(HEADER + lines(100, 160))
    _, out, errors = run("import_events", log, workspace)
    assert ("60 rows, 60 recorded" in out, "does not begin as the one of this name" in errors) == (True, True)
    log.write_text(HEADER + lines(200, 210))
    _, out, errors = run("import_events", log, workspace)
    assert ("10 rows, 10 recorded" in out, "does not begin as" in errors) == (True, True)


def test_begun_anew_or_under_other_terms_a_grown_file_is_read_from_its_beginning(workspace, log):
    run("import_events", log, workspace)
    append(log, lines(50, 60))
    assert "60 rows" in run("import_events", log, workspace, effects="none")[1]
    assert "60 rows" in run("import_events", log, workspace, restart=True)[1]


@pytest.mark.django_db(transaction=True)
def test_a_file_that_becomes_shorter_while_it_is_read_fails_and_says_so(workspace, tmp_path, monkeypatch):
    log = tmp_path / "long.csv"
    log.write_text(HEADER + lines(0, 12_000))
    monkeypatch.setattr(runner, "pause_for_others", lambda *args, **options: None)
    after_first_batch(monkeypatch, lambda: log.write_text(HEADER + lines(0, 5)))
    status, _, errors = run("import_events", log, workspace, batch_size=1_000, jobs=1)
    assert (status, "has become shorter while it was read" in errors) == (1, True)
    assert Import.objects.get().status == "failed"
    assert numbers() == list(range(Import.objects.get().rows))
