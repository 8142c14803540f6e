"""What follows from imported history is what follows from the same events when they are sent."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest

from config import clock
from contacts.models import Contact, ContactScore, Identifier
from contacts.references import ContactReference
from events.models import Event, EventBatch
from events.processing import passes
from events.processing.passes import apply_effects
from events.stream.outbox import BEHIND_ALL
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoreEntry
from scoring.verification import verify_contacts
from segments.models import Membership
from segments.verification import verify_segments
from tests.contacts.factories import by_email
from tests.contacts.imports.files import run
from tests.scale import scaled
from tests.scoring.factories import a_rule
from tests.segments.factories import VirtualClock, a_segment, attribute, did, every, none_of
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
START = datetime(2026, 11, 1, 12, tzinfo=UTC)
MOMENTS = 10


@pytest.fixture
def time(monkeypatch):
    """Return a clock that goes by hand."""
    moving = VirtualClock(START)
    monkeypatch.setattr(clock, "now", moving.now)
    return moving


def history(seed):
    """Return events of some people over two months, many of them at the edge of a window."""
    chance = random.Random(seed)
    return [
        {
            "type": chance.choice(["buy", "visit"]),
            "timestamp": (START - timedelta(hours=chance.randrange(1, 1_500))).isoformat(),
            "email": f"p{chance.randrange(8)}@x.test",
            "messageId": f"m{n}",
            "metadata": {"amount": chance.randrange(1, 9)},
        }
        for n in range(chance.randrange(60, 160))
    ]


def with_rules():
    """Return a workspace with rules that windows, decay, bounds and limits make depend on the order of time."""
    workspace = WorkspaceFactory.create()
    a_rule(workspace, "buy", 5, decay_points=Decimal(1), decay_days=4)
    a_rule(workspace, "visit", 1, limit_count=2, limit_period="day", max_score=Decimal(20))
    a_rule(workspace, "buy", 3, condition={"field": "metadata.amount", "operator": "gte", "value": 5})
    a_segment(workspace, every(did("buy", timeWindow="30d", operator="gte", value=2)), "buyers")
    a_segment(workspace, every(did("visit", operator="gte", value=5)), "visitors")
    a_segment(workspace, none_of(did("buy", timeWindow="45d")), "lapsed")
    a_segment(workspace, every(attribute("score", "gte", 10)), "hot")
    return workspace


def send(workspace, rows):
    """Record rows as the API does, the oldest first."""
    incoming = [
        IncomingEvent(
            row["type"],
            by_email(row["email"]),
            row["metadata"],
            {},
            datetime.fromisoformat(row["timestamp"]),
            row["messageId"],
        )
        for row in sorted(rows, key=lambda row: row["timestamp"])
    ]
    for place in range(0, len(incoming), 7):
        record_events(workspace.id, incoming[place : place + 7], schema_policy=SchemaPolicy.OPEN)
        apply_effects(workspace.id)


def state(workspace):
    """Return scores, ledger and memberships by person."""
    names = dict(Identifier.objects.in_workspace(workspace.id).values_list("contact_id", "value"))
    scores = ContactScore.objects.in_workspace(workspace.id).values_list("contact_id", "points")
    entries = ScoreEntry.objects.in_workspace(workspace.id).values_list(
        "contact_id", "rule__name", "event_id", "points"
    )
    messages = dict(Event.objects.in_workspace(workspace.id).values_list("id", "message_id"))
    members = Membership.objects.in_workspace(workspace.id).values_list("contact_id", "segment__name")
    return (
        {names[contact]: points for contact, points in scores if points},
        sorted((names[contact], rule, messages[event], points) for contact, rule, event, points in entries),
        sorted((names[contact], segment) for contact, segment in members),
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(scaled(2, 10)))
def test_random_history_in_random_order_and_batches(time, tmp_path, seed):
    chance = random.Random(seed + 1_000)
    rows = history(seed)
    sent, imported = with_rules(), with_rules()
    send(sent, rows)
    shuffled = chance.sample(rows, len(rows))
    cut = chance.randrange(len(rows))
    for number, part in enumerate((shuffled[:cut], shuffled[cut:])):
        path = tmp_path / f"{number}.jsonl"
        path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in part))
        assert run("import_events", path, imported, batch_size=chance.choice([1, 3, 50, 1_000]))[0] == 0
        if chance.random() < 0.5:
            apply_effects(imported.id)
    for _ in range(MOMENTS):
        for workspace in (sent, imported):
            apply_effects(workspace.id)
        assert state(imported) == state(sent)
        people = list(Contact.objects.in_workspace(imported.id).values_list("id", flat=True))
        assert not verify_contacts(imported.id, people)
        assert not verify_segments(imported.id).differences
        time.go(hours=chance.randrange(1, 200))


def csv_of(count, people):
    """Return a file of events, people by turns."""
    lines = [
        f"buy,{(START - timedelta(days=40, minutes=n)).isoformat()},p{n % people}@x.test"
        for n in range(count)
    ]
    return "event,timestamp,email\n" + "\n".join(lines)


def test_each_contact_is_evaluated_once_for_all_its_history(time, tmp_path, monkeypatch, settings):
    """However many batches the rows came in, and however few events a pass takes."""
    settings.EFFECTS_BATCH_SIZE = 320
    workspace = with_rules()
    path = tmp_path / "file.csv"
    path.write_text(csv_of(2_000, 100))
    assert run("import_events", path, workspace, batch_size=50)[0] == 0
    seen = []
    original = passes._run

    def watch(path, batch):
        if path.endswith("apply_scoring_rules"):
            seen.extend({event.contact_id for event in batch.events if event.name == "buy"})
        return original(path, batch)

    monkeypatch.setattr(passes, "_run", watch)
    apply_effects(workspace.id)
    assert len(set(seen)) == 100
    # A contact may stand at the edge of two batches.
    assert len(seen) < 150


def test_what_happens_now_does_not_wait_behind_history(time, tmp_path, monkeypatch, settings):
    settings.EFFECTS_BATCH_SIZE = 16
    workspace = with_rules()
    path = tmp_path / "file.csv"
    path.write_text(csv_of(300, 1))
    run("import_events", path, workspace, batch_size=50)
    person = Identifier.objects.get(workspace=workspace, value="p0@x.test").contact_id
    incoming = IncomingEvent("visit", ContactReference(str(person)))
    record_events(workspace.id, [incoming], schema_policy=SchemaPolicy.OPEN)
    passes._apply_pass(workspace.id)
    assert ScoreEntry.objects.filter(contact_id=person, rule__event_name="visit").exists()
    assert EventBatch.objects.exists()
    apply_effects(workspace.id)
    assert not EventBatch.objects.exists()
    assert timedelta(days=365) < BEHIND_ALL
