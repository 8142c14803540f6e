"""Imports by several processes: every row once, in the order of the file, whatever happens to them."""

import gzip
import os
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import orjson
import psutil
import pytest
from django.db import connections

from contacts.models import Contact, Import
from events.imports.events import EventImport
from events.models import Event
from tests.contacts.imports.files import refused_rows, run, run_and_kill
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)

HEADER = b"event,timestamp,email,message_id,n\n"
START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def workspace():
    return WorkspaceFactory.create()


def rows(count, people, *, keys=None, bad=None):
    """Return rows, one a minute; `keys`: how many message ids there are; every `bad`-th has no time."""
    lines = []
    for n in range(count):
        moment = "" if bad and n % bad == 0 else (START + timedelta(minutes=n % (keys or count))).isoformat()
        key = f"k{n % keys}" if keys else f"k{n}"
        lines.append(f"buy,{moment},p{n % people}@x.test,{key},{n}\n")
    return HEADER + "".join(lines).encode()


def recorded():
    return sorted(
        int(n) for n in Event.objects.filter(source="import").values_list("properties__n", flat=True)
    )


def as_json_lines(table):
    """Return the rows of a table as JSON Lines, with an empty line here and there and a header of none."""
    header, *lines = table.decode().splitlines()
    objects = (dict(zip(header.split(","), line.split(","), strict=True)) for line in lines)
    return b"\n" + b"".join(
        orjson.dumps(row) + (b"\n\n" if n % 50 == 49 else b"\n") for n, row in enumerate(objects)
    )


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("jobs", [2, 3])
def test_every_row_is_recorded_once_and_refused_rows_are_in_order(workspace, tmp_path, jobs, form):
    path = tmp_path / f"file.{form}"
    table = rows(400, 350, bad=7)
    path.write_bytes(table if form == "csv" else as_json_lines(table))
    bad = [n for n in range(400) if n % 7 == 0]
    status, out, _ = run("import_events", path, workspace, jobs=jobs, batch_size=9)
    assert (status, out) == (
        1,
        f"file.{form}: 400 rows, {400 - len(bad)} recorded, 0 repeated, {len(bad)} refused",
    )
    assert recorded() == [n for n in range(400) if n % 7]
    blank = 0 if form == "csv" else 50
    assert [row["line"] for row in refused_rows()] == [n + 2 + (n // blank if blank else 0) for n in bad]
    assert Contact.objects.count() == len({f"p{n % 350}" for n in range(400) if n % 7})
    done = Import.objects.get()
    assert (done.status, done.rows) == ("done", 400)


def test_processes_that_want_the_same_rows_do_not_wait_for_each_other_for_ever(workspace, tmp_path):
    path = tmp_path / "file.csv"
    # Each batch has the persons, and half the events, of the one before.
    path.write_bytes(rows(600, 15, keys=30))
    status, out, _ = run("import_events", path, workspace, jobs=2, batch_size=15)
    assert (status, out) == (0, "file.csv: 600 rows, 30 recorded, 570 repeated, 0 refused")
    assert recorded() == list(range(30))
    assert Contact.objects.count() == 15


def test_who_is_ahead_gives_way_to_whose_turn_it_is(workspace, tmp_path, monkeypatch):
    """The second process makes the contacts of both batches first, and may only commit after the first."""

    def record(kind, workspace_id, effects, items):
        if items[0].message_id == "k0":
            time.sleep(1)
        return real(kind, workspace_id, effects, items)

    real = EventImport.record
    monkeypatch.setattr(EventImport, "record", record)
    path = tmp_path / "file.csv"
    path.write_bytes(rows(40, 20))
    began = time.monotonic()
    assert run("import_events", path, workspace, jobs=2, batch_size=20)[1].startswith("file.csv: 40 rows, 40")
    assert time.monotonic() - began < 10
    assert recorded() == list(range(40))
    assert Contact.objects.count() == 20


@pytest.mark.slow
def test_killed_three_times_every_row_is_decided_once(workspace, tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(rows(3_000, 40, bad=50))
    for share in (0.1, 0.4, 0.7):
        assert run_and_kill(
            "import_events", path, workspace, path.stat().st_size * share, batch_size=10, jobs=2
        )
        assert Import.objects.get().status == "running"
    status, out, _ = run("import_events", path, workspace, batch_size=10, jobs=2)
    assert (status, out) == (1, "file.csv: 3,000 rows, 2,940 recorded, 0 repeated, 60 refused")
    assert recorded() == [n for n in range(3_000) if n % 50]
    assert [row["line"] for row in refused_rows()] == [n + 2 for n in range(0, 3_000, 50)]


def children_of_import():
    """Return the processes that record, once there are any."""
    while not (found := psutil.Process().children()) or not Import.objects.filter(position__gt=500).exists():
        time.sleep(0.001)
    return [child for child in found if child.status() != psutil.STATUS_ZOMBIE]


def during_import(action):
    """Begin to do something to the processes of an import once it is under way."""

    def act():
        with suppress(ProcessLookupError, IndexError):
            action(children_of_import())
        connections.close_all()

    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.mark.slow
def test_when_a_process_is_killed_the_command_says_so_and_goes_on_when_run_again(workspace, tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(rows(3_000, 40))
    before = {child.pid for child in psutil.Process().children()}
    thread = during_import(
        lambda found: os.kill(next(each.pid for each in found if each.pid not in before), signal.SIGKILL)
    )
    status, _, errors = run("import_events", path, workspace, batch_size=10, jobs=2)
    thread.join()
    assert status == 1
    assert "run again" in errors
    stopped = Import.objects.get()
    assert stopped.status == "failed"
    assert len(recorded()) == stopped.recorded
    assert run("import_events", path, workspace, jobs=2)[1].startswith("file.csv: 3,000 rows, 3,000 recorded")
    assert recorded() == list(range(3_000))


@pytest.mark.slow
def test_interrupted_it_stops_and_goes_on_later(workspace, tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(rows(3_000, 40))
    thread = during_import(lambda found: os.kill(os.getpid(), signal.SIGINT))
    status, out, errors = run("import_events", path, workspace, batch_size=10, jobs=2)
    thread.join()
    assert status == 130
    assert "Interrupted" in errors
    stopped = Import.objects.get()
    assert f"{stopped.rows:,} rows" in out
    assert (stopped.status, stopped.recorded) == ("running", len(recorded()))
    assert run("import_events", path, workspace, jobs=2)[1].startswith("file.csv: 3,000 rows, 3,000 recorded")
    assert recorded() == list(range(3_000))


def test_half_a_gzip_is_recorded_to_where_it_ends(workspace, tmp_path):
    path = tmp_path / "file.csv.gz"
    packed = gzip.compress(rows(5_000, 40))
    path.write_bytes(packed[: len(packed) // 2])
    status, out, errors = run("import_events", path, workspace, batch_size=100, jobs=2)
    assert status == 1
    assert "at line" in errors
    done = Import.objects.get()
    assert done.status == "failed"
    assert 1_000 < done.recorded < 4_000
    assert recorded() == list(range(done.recorded))
    assert out == f"file.csv.gz: {done.recorded:,} rows, {done.recorded:,} recorded, 0 repeated, 0 refused"


def test_of_two_commands_with_the_same_file_one_goes_on(workspace, tmp_path):
    path = tmp_path / "file.csv"
    path.write_bytes(rows(2_000, 40))
    connections.close_all()
    child = os.fork()
    if child == 0:
        status = 99
        try:
            status = run("import_events", path, workspace, batch_size=10, jobs=2)[0]
        finally:
            os._exit(status)
    while not Import.objects.filter(position__gt=1_000).exists():
        time.sleep(0.001)
    status, _, errors = run("import_events", path, workspace, batch_size=11, jobs=2)
    _, ended = os.waitpid(child, 0)
    assert sorted([status, os.waitstatus_to_exitcode(ended)]) == [0, 1]
    assert "Another process" in errors or status == 0
    done = Import.objects.get()
    assert (done.status, done.recorded) == ("done", 2_000)
    assert recorded() == list(range(2_000))
