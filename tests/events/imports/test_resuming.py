"""Imports that are interrupted, run twice at once, or read from standard input."""

import errno
import io
import os
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from django.db import connections

from config.files import reading
from contacts.imports.runner import ImportRunner
from contacts.models import Import
from events.models import Event
from tests.contacts.imports.files import run
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def workspace():
    return WorkspaceFactory.create()


def content(count):
    """Return a file of events."""
    return b"event,timestamp,email,n\n" + b"".join(
        b"buy,2024-02-01T12:%02d:%02dZ,p%d@x.test,%d\n" % (n // 60 % 60, n % 60, n % 9, n)
        for n in range(count)
    )


def numbers():
    """Return which rows were recorded."""
    return sorted(int(event.properties["n"]) for event in Event.objects.filter(source="import"))


def give(monkeypatch, data):
    """Have standard input give these bytes."""
    monkeypatch.setattr(reading, "sys", SimpleNamespace(stdin=SimpleNamespace(buffer=io.BytesIO(data))))


def test_standard_input_is_one_file_by_its_name(workspace, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    give(monkeypatch, content(50))
    assert "50 recorded, 0 repeated" in run("import_events", "-", workspace, name="history")[1]
    give(monkeypatch, content(80))
    assert "30 recorded, 50 repeated" in run("import_events", "-", workspace, name="history")[1]
    assert numbers() == list(range(80))


def test_standard_input_goes_on_where_it_stopped(workspace, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    give(monkeypatch, content(50))
    run("import_events", "-", workspace, name="history")
    stopped = Import.objects.get()
    # As if it had been killed after the last batch.
    Import.objects.update(status=Import.Status.RUNNING)
    give(monkeypatch, content(80))
    out = run("import_events", "-", workspace, name="history", batch_size=7)[1]
    assert out == "standard input: 80 rows, 80 recorded, 0 repeated, 0 refused"
    assert Import.objects.get().id == stopped.id
    assert numbers() == list(range(80))


@pytest.mark.slow
def test_an_interrupted_import_ends_its_batch_and_goes_on_later(workspace, tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(content(3_000))

    def interrupt():
        while not Import.objects.filter(position__gt=2_000).exists():
            time.sleep(0.001)
        connections.close_all()
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    status, out, errors = run("import_events", path, workspace, batch_size=10)
    thread.join()
    assert status == 130
    assert "Interrupted" in errors
    stopped = Import.objects.get()
    assert (stopped.status, stopped.recorded) == ("running", len(numbers()))
    assert f"{stopped.rows:,} rows" in out
    assert (
        run("import_events", path, workspace)[1]
        == "file.csv: 3,000 rows, 3,000 recorded, 0 repeated, 0 refused"
    )


def bad(count):
    """Return a file of events, of which each fifth has no time."""
    lines = content(count).splitlines(keepends=True)
    return b"".join(line.replace(b"2024", b"") if n % 5 == 1 else line for n, line in enumerate(lines))


def refused_lines():
    """Return which lines the file of refused rows has."""
    return [
        orjson.loads(line)["line"]
        for line in Path(Import.objects.get().refused_file).read_bytes().splitlines()
    ]


class Killed(BaseException):
    """The process is gone."""


def run_killed(path, workspace, monkeypatch, position, **options):
    """Run an import in batches of 10, until it has come so far."""
    commit = ImportRunner._commit

    def stopping(runner, batch):
        if runner.stored.position >= position:
            raise Killed
        commit(runner, batch)

    with monkeypatch.context() as patched:
        patched.setattr(ImportRunner, "_commit", stopping)
        with pytest.raises(Killed):
            run("import_events", path, workspace, batch_size=10, **options)


def test_one_that_comes_too_late_leaves_what_the_other_has_refused(workspace, tmp_path, monkeypatch):
    path = tmp_path / "file.csv"
    path.write_bytes(bad(100))
    commit = ImportRunner._commit

    def overtaken(runner, batch):
        monkeypatch.setattr(ImportRunner, "_commit", commit)
        # Another process comes to the same place, and on.
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        commit(runner, batch)

    def other():
        try:
            run("import_events", path, workspace, batch_size=10)
        finally:
            connections.close_all()

    monkeypatch.setattr(ImportRunner, "_commit", overtaken)
    status, _, errors = run("import_events", path, workspace, batch_size=10)
    assert (status, "Another process" in errors) == (1, True)
    assert refused_lines() == list(range(2, 102, 5))


def test_a_file_that_is_shorter_than_its_name_says_is_not_gone_on_with(workspace, tmp_path, monkeypatch):
    path = tmp_path / "file.csv"
    path.write_bytes(content(100))
    run_killed(path, workspace, monkeypatch, 2_000, name="daily")
    path.write_bytes(content(10))
    status, _, errors = run("import_events", path, workspace, name="daily")
    assert (status, "--restart" in errors) == (1, True)
    status, out, _ = run("import_events", path, workspace, name="daily", restart=True)
    assert (status, "10 rows" in out) == (0, True)


def test_what_somebody_took_away_of_the_refused_leaves_no_hole(workspace, tmp_path, monkeypatch):
    path = tmp_path / "file.csv"
    path.write_bytes(bad(100))
    run_killed(path, workspace, monkeypatch, 2_000)
    Path(Import.objects.get().refused_file).rename(tmp_path / "kept")
    run("import_events", path, workspace, batch_size=10)
    before = [orjson.loads(line)["line"] for line in (tmp_path / "kept").read_bytes().splitlines()]
    assert before + refused_lines() == list(range(2, 102, 5))


def test_a_file_of_refused_rows_that_is_there_is_added_to(workspace, tmp_path):
    path, refused = tmp_path / "file.csv", tmp_path / "refused.jsonl"
    path.write_bytes(bad(10))
    refused.write_bytes(b'{"of": "before"}\n')
    run("import_events", path, workspace, refused=refused)
    assert [b"before" in line for line in refused.read_bytes().splitlines()] == [True, False, False]


def test_the_input_is_never_written_to(workspace, tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(bad(10))
    (tmp_path / "link").symlink_to(path)
    for refused in (path, tmp_path / "link"):
        status, _, errors = run("import_events", path, workspace, refused=refused)
        assert (status, "cannot be the one that is imported" in errors) == (1, True)
    assert path.read_bytes() == bad(10)


def test_a_full_disk_is_said_and_the_import_goes_on_when_there_is_room(workspace, tmp_path, monkeypatch):
    path = tmp_path / "file.csv"
    path.write_bytes(bad(100))
    room = 500

    def pwrite(descriptor, data, position, write=os.pwrite):
        if position >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, bytes(data)[: room - position], position)

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", pwrite)
        status, _, errors = run("import_events", path, workspace, batch_size=10)
    assert (status, "No space left" in errors) == (1, True)
    assert Import.objects.get().status == "failed"
    run("import_events", path, workspace, batch_size=10)
    assert refused_lines() == list(range(2, 102, 5))


def test_a_name_that_is_no_text_is_shown_as_bytes(workspace, tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.csv"))
    path.write_bytes(content(1))
    assert run("import_events", path, workspace)[0] == 0
    assert Import.objects.get().name == "\\udcff.csv"


@pytest.mark.slow
def test_of_two_that_import_the_same_file_one_goes_on(workspace, tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(content(3_000))
    connections.close_all()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = run("import_events", path, workspace, batch_size=10)[0]
        finally:
            os._exit(status)
    while not Import.objects.filter(position__gt=1_000).exists():
        time.sleep(0.001)
    status, _, errors = run("import_events", path, workspace, batch_size=11)
    _, ended = os.waitpid(child, 0)
    assert sorted([status, os.waitstatus_to_exitcode(ended)]) == [0, 1]
    assert "Another process" in errors or status == 0
    done = Import.objects.get()
    assert (done.status, done.rows, done.recorded) == ("done", 3_000, 3_000)
    assert numbers() == list(range(3_000))
