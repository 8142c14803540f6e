"""Imports that are interrupted, run twice at once, or read from standard input."""

import io
import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from django.db import connections

from config.files import reading
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
