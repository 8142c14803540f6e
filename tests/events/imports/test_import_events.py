"""import_events: every row once, in its place, or refused with its cause, whatever is killed."""

import gzip
import json
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from django.db import DataError

from contacts.erasure.erasures import erase_person
from contacts.identity.resolution import resolve_contacts
from contacts.imports.runner import ImportRunner
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import Contact, Identifier, Import
from events.imports.events import EventImport
from events.models import EffectsLevel, Event, EventBatch, RefusedEvent
from events.processing.passes import apply_effects
from tests.contacts.factories import a_contact, by_email
from tests.contacts.imports.files import refused_rows, run, run_and_kill
from tests.workspaces.factories import WorkspaceFactory
from workspaces.management.progress import ProgressDisplay

pytestmark = pytest.mark.django_db

HEADER = "event,timestamp,email,amount\n"


@pytest.fixture
def workspace():
    return WorkspaceFactory.create()


@pytest.fixture
def load(tmp_path, workspace):
    """Return what imports a text, or lines of objects."""

    def load(content, filename="file", **options):
        path = tmp_path / filename
        if isinstance(content, list):
            content = b"".join(orjson.dumps(line) + b"\n" for line in content)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return run("import_events", path, workspace, **options)

    return load


def lines(count, at=datetime(2024, 1, 1, tzinfo=UTC)):
    """Return rows of events, one a minute, about ten persons."""
    return "".join(
        f"purchase,{(at + timedelta(minutes=n)).isoformat()},p{n % 10}@x.test,{n}\n" for n in range(count)
    )


def imported():
    """Return the imported events."""
    return list(Event.objects.filter(source="import").order_by("id"))


@pytest.mark.parametrize(("options", "expected"), [({}, [3, 6, 7]), ({"batch_size": 4}, [4, 7])])
def test_so_many_rows_are_a_transaction_as_the_kind_says_or_the_command(load, monkeypatch, options, expected):
    monkeypatch.setattr(EventImport, "batch_rows", 3)
    noted = []
    commit = ImportRunner._commit
    monkeypatch.setattr(
        ImportRunner, "_commit", lambda own, batch: (commit(own, batch), noted.append(own.stored.rows))
    )
    load(HEADER + lines(7), **options)
    assert noted == expected


def test_rows_become_events_of_their_own_time(workspace, load):
    assert load(HEADER + "purchase,2024-02-01T12:00:00Z,Ada@X.test,12\n") == (
        0,
        "file: 1 rows, 1 recorded, 0 repeated, 0 refused",
        "",
    )
    (event,) = imported()
    contact = Contact.objects.get()
    assert (event.name, event.contact_id, event.occurred_at) == (
        "purchase",
        contact.id,
        datetime(2024, 2, 1, 12, tzinfo=UTC),
    )
    assert event.properties == {"amount": "12"}
    assert Identifier.objects.get().value == "ada@x.test"


def test_the_same_file_twice_records_nothing_twice_wherever_it_lies(load):
    content = HEADER + lines(50)
    assert load(content, "one.csv")[1] == "one.csv: 50 rows, 50 recorded, 0 repeated, 0 refused"
    assert load(content, "two.csv")[1] == "two.csv: 50 rows, 0 recorded, 50 repeated, 0 refused"
    assert len(imported()) == 50


def test_a_name_stands_for_the_content(load):
    assert "2 recorded, 0 repeated" in load(HEADER + lines(2), "one.csv", name="history")[1]
    assert "1 recorded, 2 repeated" in load(HEADER + lines(3), "two.csv", name="history")[1]


def test_a_message_id_is_the_key(load):
    row = {"type": "purchase", "timestamp": "2024-02-01T12:00:00Z", "email": "a@x.test", "messageId": "m1"}
    assert "1 recorded" in load([row], "one.jsonl")[1]
    assert "0 recorded, 1 repeated" in load([{**row, "metadata": {"more": 1}}], "two.jsonl")[1]


BAD = [
    ("purchase,01/02/2024,a@x.test,1", "day or the month first"),
    ("purchase,,a@x.test,1", "no time"),
    (",2024-02-01,a@x.test,1", "no name"),
    ("purchase,2024-02-01,nobody,1", "not a valid email"),
    ("purchase,1969-12-31,a@x.test,1", "before 1970"),
    ("purchase,2999-01-01,a@x.test,1", "in the past"),
    ("purchase,2024-02-01,a@x.test", "3 values for 4 columns"),
    ('purchase,2024-02-01,a@x.test,"1"x', "quoting is wrong"),
    ("x" * 256 + ",2024-02-01,a@x.test,1", "name"),
    ("purchase,2024-02-01,a@x.test,\x00", "NUL"),
]


def test_bad_rows_are_refused_with_line_and_cause_and_can_be_mended(load, tmp_path):
    good = "purchase,2024-02-01T12:00:00Z,a@x.test,1\n"
    status, out, errors = load(HEADER + good + "".join(f"{row}\n" for row, _ in BAD) + good)
    assert (status, out) == (1, f"file: {len(BAD) + 2} rows, 2 recorded, 0 repeated, {len(BAD)} refused")
    assert "file.refused.jsonl" in errors
    refused = refused_rows()
    assert [row["line"] for row in refused] == list(range(3, 3 + len(BAD)))
    for row, (_, cause) in zip(refused, BAD, strict=True):
        assert cause in row["cause"], row

    # Not mended, they are refused again under their keys; mended, each is recorded once, in any number of tries.
    assert load([refused[0]], "again.jsonl")[1].endswith("0 recorded, 0 repeated, 1 refused")
    (again,) = refused_rows()
    assert again["key"] == refused[0]["key"]
    mended = {**again, "row": {**again["row"], "timestamp": "2024-02-01"}}
    ragged = {**refused[6], "cells": [*refused[6]["cells"], "1"]}
    assert load([mended, ragged], "mended.jsonl")[:2] == (
        0,
        "mended.jsonl: 2 rows, 2 recorded, 0 repeated, 0 refused",
    )
    assert (
        load([ragged, mended], "twice.jsonl")[1] == "twice.jsonl: 2 rows, 0 recorded, 2 repeated, 0 refused"
    )
    assert len(imported()) == 4


def test_what_the_database_refuses_takes_no_other_row_with_it(load, monkeypatch):
    record = EventImport.record

    def failing(self, workspace_id, effects, items):
        if any(item.properties["amount"] == "7" for item in items):
            raise DataError("unsupported")
        return record(self, workspace_id, effects, items)

    monkeypatch.setattr(EventImport, "record", failing)
    assert load(HEADER + lines(20))[1] == "file: 20 rows, 19 recorded, 0 repeated, 1 refused"
    (refused,) = refused_rows()
    assert (refused["line"], refused["row"]["amount"]) == (9, "7")
    assert "cannot be stored" in refused["cause"]


@pytest.mark.parametrize(
    ("effects", "level"),
    [
        ("none", None),
        ("scores-and-segments", EffectsLevel.SCORES_AND_SEGMENTS),
        ("all", EffectsLevel.ALL),
    ],
)
def test_effects_are_as_far_as_is_said(load, effects, level):
    load(HEADER + lines(5), effects=effects)
    # What a late event changes of a contact starts nothing, whatever is said.
    assert max((batch.level for batch in EventBatch.objects.all()), default=None) == level


def test_by_default_no_campaign_is_started(load):
    load(HEADER + lines(5))
    assert {batch.level for batch in EventBatch.objects.all()} == {EffectsLevel.SCORES_AND_SEGMENTS}


def test_an_erased_person_does_not_come_back(workspace, load):
    contact = a_contact(workspace, "p1@x.test")
    erase_person(workspace.id, contact, by="test")
    status, out, _ = load(HEADER + lines(10))
    assert (status, out) == (1, "file: 10 rows, 9 recorded, 0 repeated, 1 refused")
    assert "erased" in refused_rows()[0]["cause"]
    assert not Identifier.objects.filter(value="p1@x.test").exists()
    assert not RefusedEvent.objects.exists()


def test_merges_and_their_undo_hold_for_imported_rows(workspace, load):
    survivor, merged = a_contact(workspace, "p0@x.test"), a_contact(workspace, "p1@x.test")
    merge = merge_contacts(workspace.id, survivor, merged)
    load(HEADER + lines(10))
    events = {event.properties["amount"]: event.contact_id for event in imported()}
    assert (events["0"], events["1"]) == (survivor.id, merged.id)
    apply_effects(workspace.id)
    undo_merge(workspace.id, merge)
    assert Event.objects.filter(contact=merged, source="import").count() == 1


def test_half_a_gzip_is_imported_to_where_it_ends(load):
    packed = gzip.compress((HEADER + lines(5_000)).encode())[:-1_000]
    status, out, errors = load(packed, "half.csv.gz")
    assert (status, out) == (
        1,
        f"half.csv.gz: {len(imported()):,} rows, {len(imported()):,} recorded, 0 repeated, 0 refused",
    )
    assert "ends early" in errors
    assert len(imported()) > 1_000
    run_ = Import.objects.get()
    assert (run_.status, run_.recorded) == ("failed", len(imported()))
    assert "ends early" in run_.error
    # Again: it goes on at the same place, and fails there.
    assert load(packed, "half.csv.gz")[:2] == (1, out)
    assert Import.objects.get().recorded == run_.recorded


def test_a_dry_run_records_nothing(load):
    status, out, errors = load(HEADER + lines(5) + "x\n", dry_run=True)
    assert (status, out) == (
        1,
        "file: 6 rows, 5 recorded, 0 repeated, 1 refused (dry run: nothing was recorded)",
    )
    assert "line 7: The row has 1 values for 4 columns" in errors
    assert not imported()
    assert not Import.objects.exists()


@pytest.mark.parametrize("dry_run", [False, True], ids=["recorded", "dry run"])
def test_progress_begins_where_the_import_stands_and_knows_how_much_is_left(load, monkeypatch, dry_run):
    shown = []
    monkeypatch.setattr(ProgressDisplay, "begin", lambda self, *counts: shown.append(counts))
    monkeypatch.setattr(ProgressDisplay, "update", lambda self, *counts: shown.append(counts))
    load(HEADER + lines(30), "first.csv", batch_size=10, dry_run=dry_run)
    assert [done for done, _ in shown] == [0, 0, 10, 20, 30]
    assert all(total and done <= total <= 33 for done, total in shown[2:])
    if not dry_run:
        Import.objects.update(status="running")
        shown.clear()
        load(HEADER + lines(30), "first.csv", batch_size=10)
        assert [done for done, _ in shown] == [30, 30]


def test_a_map_says_what_columns_are(load, tmp_path):
    path = tmp_path / "map.yaml"
    path.write_text(
        "events:\n"
        "  name: {value: bought}\n"
        "  timestamp: {column: day, format: '%d/%m/%Y'}\n"
        "  external_id: who\n"
        "  properties.total: {column: total, type: number}\n"
    )
    assert load("day,who,total,left\n01/02/2024,7,9.5,x\n", map=str(path))[0] == 0
    (event,) = imported()
    assert (event.name, event.occurred_at, event.properties) == (
        "bought",
        datetime(2024, 2, 1, tzinfo=UTC),
        {"total": 9.5},
    )
    assert Identifier.objects.get().kind == "external_id"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": "nowhere.yaml"}, "no file that is there, and none of the vendors autosend, campaignos"),
        ({"map": "."}, "cannot be read"),
        ({"encoding": "klingon"}, "no encoding"),
        ({"batch_size": 0}, "at least 1"),
    ],
)
def test_what_is_wrong_with_the_options_is_said_first(load, options, message):
    status, _, errors = load(HEADER + lines(1), **options)
    assert status == 1
    assert message in errors
    assert not imported()


def test_another_workspace_is_untouched(workspace, load):
    other = WorkspaceFactory.create()
    theirs = resolve_contacts(other.id, [by_email("p1@x.test")])[0].contact_id
    load(HEADER + lines(10))
    assert not Event.objects.filter(contact=theirs, source="import").exists()
    assert {event.workspace_id for event in imported()} == {workspace.id}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("form", ["csv", "jsonl", "csv.gz"])
def test_killed_three_times_every_row_is_decided_once(workspace, tmp_path, form):
    """Events, counts and refused rows are those of a run that nobody kills."""
    count, bad = 1_500, 7
    texts = lines(count).splitlines()
    if form == "jsonl":
        names = ("event", "timestamp", "email", "amount")
        texts = [json.dumps(dict(zip(names, text.split(","), strict=True))) for text in texts]
    texts = [text if n % bad != 3 else "broken" for n, text in enumerate(texts)]
    content = "".join(f"{text}\n" for text in texts).encode()
    if form != "jsonl":
        content = HEADER.encode() + content
    path = tmp_path / f"file.{form}"
    path.write_bytes(gzip.compress(content) if form.endswith("gz") else content)
    for share in (0.1, 0.4, 0.7):
        assert run_and_kill("import_events", path, workspace, len(content) * share, batch_size=10)
        stopped = Import.objects.get()
        assert stopped.status == "running"
        assert 0 < stopped.rows < count
    refused = sum(1 for n in range(count) if n % bad == 3)
    status, out, _ = run("import_events", path, workspace, batch_size=100)
    assert (status, out) == (
        1,
        f"file.{form}: {count:,} rows, {count - refused:,} recorded, 0 repeated, {refused} refused",
    )
    amounts = [int(event.properties["amount"]) for event in imported()]
    assert amounts == [n for n in range(count) if n % bad != 3]
    first = 1 if form == "jsonl" else 2
    assert [row["line"] for row in refused_rows()] == [n + first for n in range(count) if n % bad == 3]
    assert Contact.objects.count() == 10
