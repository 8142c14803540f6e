"""What is exported imports again to the same contacts, scores and memberships, in every form."""

import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connections

from config import clock
from config.files.errors import UnreadableFile
from config.files.reading import open_file
from config.files.rows import Place
from contacts.erasure.erasures import erase_person
from contacts.imports import exports
from contacts.imports.exports import exported_contacts
from contacts.merging.merges import merge_contacts
from contacts.models import Contact, ContactScore
from contacts.queries import with_details
from contacts.references import CompanyReference, ContactReference
from events.imports import exports as event_exports
from events.imports.exports import exported_events
from events.models import Event
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoringRule
from scoring.rules import save_rule
from segments.models import Membership
from tests.contacts.factories import a_contact
from tests.contacts.imports.files import run
from tests.segments.factories import a_segment, did, every
from tests.workspaces.factories import WorkspaceFactory
from workspaces.management.progress import ProgressDisplay

pytestmark = pytest.mark.django_db
FORMS = ["jsonl", "csv", "tsv", "jsonl.gz", "csv.gz", "parquet"]


def with_rules(workspace):
    """Give a workspace a scoring rule and two segments."""
    save_rule(
        ScoringRule(workspace=workspace, name="Bought", event_name="purchase", points=5), condition=None
    )
    a_segment(workspace, every(did("purchase", timeWindow="30d", operator="gte", value=2)), "buyers")
    a_segment(workspace, every({"type": "tag", "value": "vip"}), "tagged")
    return workspace


@pytest.fixture
def filled():
    """Return a workspace with people of every kind and what they did."""
    workspace = with_rules(WorkspaceFactory.create())
    a_contact(
        workspace,
        "ada@x.test",
        identifiers=(("email", "ada@home.test"), ("phone", "+4930123456"), ("external_id", "7")),
        first_name="Ada",
        last_name='="x"',
        attributes={"plan": "pro", "seats": 3, "deep": {"a": [1, None, "é"]}},
        tags=("vip", "a, b"),
        consents={"email": "opted_in", "sms": "opted_out"},
    )
    nobody = a_contact(workspace, first_name="No", last_name="body")
    a_contact(workspace, identifiers=(("anonymous_id", "device"),))
    now = clock.now()
    incoming = [
        IncomingEvent(
            "purchase" if n % 3 else "visit",
            ContactReference(str(nobody.id))
            if n == 5
            else ContactReference(identifiers=(("email", f"p{n % 4}@x.test"),), if_missing="create"),
            {"amount": n * 1.5, "text": 'a "b"\n;c', "nested": {"x": [n]}},
            {"pageUrl": "https://x.test/?a=1"},
            now - timedelta(days=n * 2, microseconds=17),
            f"key {n}" if n % 2 else "",
            CompanyReference(name="Mill") if n == 3 else None,
        )
        for n in range(30)
    ]
    outcomes = record_events(workspace.id, incoming, schema_policy=SchemaPolicy.OPEN)
    assert all(outcome.error is None for outcome in outcomes)
    apply_effects(workspace.id)
    return workspace


def people(workspace):
    """Return all that is known of the contacts, by what each is found by."""
    found = {}
    for contact in with_details(Contact.objects.in_workspace(workspace.id)):
        identifiers = sorted(
            (identifier.kind, identifier.value, identifier.is_primary)
            for identifier in contact.known_identifiers
        )
        names = [*identifiers] or [("anonymous_id", str(contact.id), True)]
        found[names[0]] = (
            names,
            contact.first_name,
            contact.last_name,
            contact.attributes,
            sorted(contact.tag_names),
            {consent.channel: consent.status for consent in contact.known_consents},
            contact.score_points,
            sorted(
                Membership.objects.in_workspace(workspace.id)
                .filter(contact_id=contact.id)
                .values_list("segment__name", flat=True)
            ),
        )
    return found


def events(workspace):
    """Return what happened."""
    rows = Event.objects.in_workspace(workspace.id).exclude(source="system").order_by("occurred_at", "name")
    return [(event.name, event.occurred_at, event.properties, event.context) for event in rows]


@pytest.mark.parametrize("form", FORMS)
def test_what_is_exported_imports_again_to_the_same_state(filled, tmp_path, form):
    for kind in ("contacts", "events"):
        status, out, errors = run(f"export_{kind}", tmp_path / f"{kind}.{form}", filled)
        assert (status, errors) == (0, "")
        assert out.endswith(kind)
    again = with_rules(WorkspaceFactory.create())
    for kind in ("contacts", "events", "events"):
        assert run(f"import_{kind}", tmp_path / f"{kind}.{form}", again)[::2] == (0, "")
    apply_effects(again.id)
    assert people(again) == people(filled)
    assert events(again) == events(filled)
    assert ContactScore.objects.in_workspace(again.id).filter(points__gt=0).count() == 5
    assert Membership.objects.in_workspace(again.id).exists()


@pytest.mark.parametrize("command", ["export_contacts", "export_events"])
def test_progress_knows_about_how_much_is_left(filled, tmp_path, monkeypatch, command):
    begun, ended = [], []
    monkeypatch.setattr(ProgressDisplay, "begin", lambda self, *counts: begun.append(counts))
    monkeypatch.setattr(ProgressDisplay, "update", lambda self, *counts: ended.append(counts))
    _, out, _ = run(command, tmp_path / "file.csv", filled)
    ((done, total),) = begun
    assert (done, total > 0) == (0, True)
    (counts,) = ended
    assert out == f"{counts[0]} {command.removeprefix('export_')}"
    assert counts[0] == counts[1]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("exported", [exported_contacts, exported_events])
def test_an_export_has_one_moment_whatever_happens_meanwhile(monkeypatch, exported):
    monkeypatch.setattr(exports, "CHUNK_ROWS", 1)
    monkeypatch.setattr(event_exports, "CHUNK_ROWS", 1)
    workspace = WorkspaceFactory.create()
    names = ["a", "b", "c"]
    contacts = [a_contact(workspace, f"{name}@x.test") for name in names]
    moments = [datetime(2024, 2, day, tzinfo=UTC) for day in (1, 2, 3)]
    happened = [
        IncomingEvent("seen", ContactReference(str(contact.id)), occurred_at=moment)
        for contact, moment in zip(contacts, moments, strict=True)
    ]
    record_events(workspace.id, happened, schema_policy=SchemaPolicy.OPEN)

    def change():
        try:
            merge_contacts(workspace.id, contacts[0], contacts[1])
            erase_person(workspace.id, contacts[2])
        finally:
            connections.close_all()

    rows = exported(workspace.id)
    first = next(rows)
    thread = threading.Thread(target=change)
    thread.start()
    thread.join()
    assert [row["email"] for row in [first, *rows]] == [f"{name}@x.test" for name in names]


def test_the_options_choose_events(filled, tmp_path):
    path = tmp_path / "some.jsonl"
    since = clock.now() - timedelta(days=21)
    run("export_events", path, filled, since=since.isoformat(), name=["purchase"])
    told = Event.objects.in_workspace(filled.id).filter(name="purchase", occurred_at__gte=since).count()
    assert 0 < path.read_text().count("\n") == told
    run("export_events", path, filled, until=since.isoformat())
    assert (
        path.read_text().count("\n")
        == 30
        - Event.objects.in_workspace(filled.id)
        .exclude(source="system")
        .filter(occurred_at__gte=since)
        .count()
    )
    run("export_events", path, filled, system=True, name=["contact.created"])
    assert path.read_text().count("\n") == Contact.objects.in_workspace(filled.id).count()


def test_a_segment_chooses_contacts_and_their_events(filled, tmp_path):
    path = tmp_path / "some.jsonl"
    segment = Membership.objects.in_workspace(filled.id).filter(segment__name="buyers").first().segment_id
    members = Membership.objects.in_workspace(filled.id).filter(segment_id=segment).values("contact_id")
    assert run("export_contacts", path, filled, segment=str(segment))[1] == f"{members.count()} contacts"
    told = Event.objects.in_workspace(filled.id).exclude(source="system").filter(contact_id__in=members)
    assert run("export_events", path, filled, segment=str(segment))[1] == f"{told.count()} events"
    assert run("export_contacts", path, filled, segment="nonsense")[1] == "0 contacts"


def test_without_pyarrow_the_extra_is_named(filled, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    status, _, errors = run("export_events", tmp_path / "x.parquet", filled)
    assert status == 1
    assert "headrace[parquet]" in errors
    assert not (tmp_path / "x.parquet").exists()
    path = tmp_path / "y.parquet"
    path.write_bytes(b"PAR1")
    assert "headrace[parquet]" in run("import_events", path, filled)[2]


def _far(arrow, unit):
    return arrow.array([1, 2**60], arrow.timestamp(unit, "UTC"))


def _not_utf8(arrow):
    offsets = arrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0")
    return arrow.Array.from_buffers(arrow.string(), 2, [None, offsets, arrow.py_buffer(b"a\xff")])


@pytest.mark.parametrize(
    ("column", "recorded"),
    [
        (lambda arrow: arrow.array([1_001, 2_000], arrow.timestamp("ns")), 2),
        (lambda arrow: arrow.array([1_001, 2_000], arrow.time64("ns")), 2),
        (lambda arrow: arrow.array([[1_001], [2_000]], arrow.list_(arrow.timestamp("ns", "UTC"))), 2),
        (
            lambda arrow: arrow.array(
                [{"at": 1_001}, {"at": 1}], arrow.struct([("at", arrow.timestamp("ns"))])
            ),
            2,
        ),
        (
            lambda arrow: arrow.array(
                [[("a", 1_001)], []], arrow.map_(arrow.string(), arrow.timestamp("ns"))
            ),
            2,
        ),
        (lambda arrow: _far(arrow, "us"), 1),
        (lambda arrow: arrow.array([1, 2**31 - 1], arrow.date32()), 1),
        (lambda arrow: arrow.array([1, 2**60], arrow.duration("s")), 0),
        (_not_utf8, 1),
        (
            lambda arrow: arrow.array(
                [[("a", 1)], [("a", 1), ("a", 2)]], arrow.map_(arrow.string(), arrow.int64())
            ),
            1,
        ),
        (lambda arrow: arrow.array([0, 0], arrow.timestamp("us", "Mars/Phobos")), 0),
    ],
    ids=range(11),
)
def test_what_python_has_no_value_for_is_refused_by_itself(tmp_path, column, recorded):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "odd.parquet"
    at = [datetime(2024, 2, 1, 12, tzinfo=UTC)] * 2
    table = {"event": ["x"] * 2, "timestamp": at, "email": ["a@x.test"] * 2, "odd": column(arrow)}
    parquet.write_table(arrow.table(table), path)
    out = run("import_events", path, WorkspaceFactory.create())[1]
    assert out == f"odd.parquet: 2 rows, {recorded} recorded, 0 repeated, {2 - recorded} refused"


def test_a_small_file_of_long_rows_takes_little_memory(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path, count = tmp_path / "bomb.parquet", 2_000
    texts = arrow.array(["a" * 700_000, "b" * 2_000_000, "short"])
    turns = arrow.array([place % 3 for place in range(count)], arrow.int32())
    parquet.write_table(arrow.table({"text": arrow.DictionaryArray.from_arrays(turns, texts)}), path)
    assert path.stat().st_size < 200_000
    arrow.default_memory_pool().release_unused()
    before = arrow.total_allocated_bytes()
    most = 0
    problems = []
    with open_file(str(path)) as file:
        for row in file.rows(Place()):
            most = max(most, arrow.total_allocated_bytes() - before)
            problems.append(row.problem)
    assert problems == [
        "The row is longer than 1,048,576 bytes" if place % 3 == 1 else "" for place in range(count)
    ]
    assert most < 50_000_000


def test_a_row_of_very_many_values_is_refused_unread(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "list.parquet"
    numbers = arrow.array([0], arrow.int64()).take(arrow.array([0] * 10_000_000))
    rows = arrow.ListArray.from_arrays(arrow.array([0, len(numbers)], arrow.int32()), numbers)
    parquet.write_table(arrow.table({"list": rows}), path)
    with open_file(str(path)) as file, pytest.raises(UnreadableFile, match="rows of some"):
        list(file.rows(Place()))


def test_columns_of_the_same_name_are_refused(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "twice.parquet"
    parquet.write_table(arrow.Table.from_arrays([arrow.array([1])] * 2, names=["a", "a"]), path)
    assert "a column twice: a" in run("import_events", path, WorkspaceFactory.create())[2]


def test_typed_columns_of_parquet(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    workspace = WorkspaceFactory.create()
    path = tmp_path / "typed.parquet"
    count = 5_000
    at = datetime(2024, 2, 1, 12, tzinfo=UTC)
    table = arrow.table(
        {
            "event": ["purchase"] * count,
            "timestamp": [at + timedelta(seconds=n) for n in range(count)],
            "email": [f"p{n % 7}@x.test" for n in range(count)],
            "amount": [n / 2 for n in range(count)],
            "bad": [2**64 - 1 if n == 7 else None for n in range(count)],
        },
        schema=arrow.schema(
            [
                ("event", arrow.string()),
                ("timestamp", arrow.timestamp("us", "UTC")),
                ("email", arrow.string()),
                ("amount", arrow.float64()),
                ("bad", arrow.uint64()),
            ]
        ),
    )
    parquet.write_table(table, path, row_group_size=500)
    status, out, _ = run("import_events", path, workspace)
    assert (status, out) == (1, "typed.parquet: 5,000 rows, 4,999 recorded, 0 repeated, 1 refused")
    first = Event.objects.in_workspace(workspace.id).filter(source="import").order_by("id").first()
    assert (first.occurred_at, first.properties) == (at, {"amount": 0.0})
