"""An import without effects that gets them later leaves what it would have left with them."""

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import orjson
import pytest
from django.core.management import CommandError, call_command

from config import clock
from contacts.crud import find_contact
from contacts.merging.merges import merge_contacts
from contacts.models import Contact, Identifier, Import
from events.models import Aggregate, ContactAggregate, Event, EventBatch
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.verification import verify_contacts
from segments.build import run_build
from segments.models import Membership
from segments.verification import verify_segments
from tests.campaigns.factories import a_campaign, definition, enrollments_of, marks, on_event
from tests.contacts.factories import by_email
from tests.contacts.imports.files import run
from tests.events.imports.test_effects_of_imports import history, state, with_rules
from tests.scale import scaled
from tests.scoring.factories import a_rule
from tests.segments.factories import VirtualClock, a_segment, attribute, did, every
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
START = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def time(monkeypatch):
    """Return a clock that goes by hand."""
    moving = VirtualClock(START)
    monkeypatch.setattr(clock, "now", moving.now)
    return moving


def with_more_rules(*, with_history):
    """Return a workspace with rules over all time, too; `with_history`: and one that asks for what was before."""
    workspace = with_rules()
    spent = did("buy", aggregate="sum", property="metadata.amount", operator="gte", value=20)
    a_segment(workspace, every(spent), "spenders")
    a_segment(workspace, every(did("visit", aggregate="count", operator="gte", value=3)), "regulars")
    if with_history:
        a_rule(workspace, "buy", 7, condition=did("buy", timeWindow="20d", operator="gte", value=2))
    return workspace


def aggregates(workspace):
    """Return what is counted of each person."""
    names = dict(Identifier.objects.in_workspace(workspace.id).values_list("contact_id", "value"))
    keys = dict(Aggregate.objects.in_workspace(workspace.id).values_list("id", "key"))
    return sorted(
        (names[row.contact_id], keys[row.aggregate_id], row.count, row.total, row.last_at)
        for row in ContactAggregate.objects.in_workspace(workspace.id)
    )


def visit(workspace, email):
    incoming = IncomingEvent("visit", by_email(email), {"amount": 1})
    record_events(workspace.id, [incoming], schema_policy=SchemaPolicy.OPEN)
    apply_effects(workspace.id)


def apply_later(*runs, **options):
    """Run the command; return what it prints."""
    out = StringIO()
    call_command(
        "apply_import_effects", *(str(each.id) for each in runs), stdout=out, stderr=StringIO(), **options
    )
    return out.getvalue()


def an_import():
    """Return the import without effects, dated by the clock of the test, which another process' is ahead of."""
    found = Import.objects.get(effects="none")
    found.started_at = found.finished_at + timedelta(minutes=4)
    found.save()
    return found


def assert_sound(workspace):
    people = list(Contact.objects.in_workspace(workspace.id).canonical().values_list("id", flat=True))
    assert not verify_contacts(workspace.id, people)
    assert not verify_segments(workspace.id).differences


@pytest.mark.slow
@pytest.mark.parametrize("is_merged", [True, False], ids=["merged", "apart"])
@pytest.mark.parametrize("seed", range(scaled(1, 6)))
def test_the_state_is_what_it_would_have_been(time, tmp_path, seed, is_merged):
    """Whatever happened, was built and was merged meanwhile, and however often they are applied.

    A rule that asks for earlier events asks when it is applied: what was merged meanwhile is one history then.
    """
    chance = random.Random(seed)
    rows = history(seed)
    path = tmp_path / "history.jsonl"
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in chance.sample(rows, len(rows))))
    with_effects, without = (with_more_rules(with_history=not is_merged) for _ in range(2))
    for workspace in (with_effects, without):
        for email in ("p1@x.test", "new@x.test"):
            visit(workspace, email)
    run("import_events", path, with_effects, batch_size=20)
    run("import_events", path, without, effects="none", batch_size=20)
    for workspace in (with_effects, without):
        apply_effects(workspace.id)
    assert state(without) != state(with_effects)
    imported = an_import()
    new = Event.objects.in_workspace(without.id).filter(name="contact.created").count()
    time.go(hours=chance.randrange(1, 100))
    for workspace in (with_effects, without):
        if is_merged:
            pair = (find_contact(workspace, f"{name}@x.test") for name in ("p1", "p2"))
            merge_contacts(workspace.id, *pair)
        built = a_segment(workspace, every(did("visit", operator="gte", value=4)), "later")
        run_build(workspace.id, built.id)
        visit(workspace, "p3@x.test")
    for _ in range(2):
        assert f", {len(rows) + new} events" in apply_later(imported, batch_size=3)
        apply_effects(without.id)
        assert state(without) == state(with_effects)
        assert aggregates(without) == aggregates(with_effects)
        assert_sound(without)
    time.go(hours=chance.randrange(100, 900))
    for workspace in (with_effects, without):
        visit(workspace, "p3@x.test")
    assert state(without) == state(with_effects)
    assert_sound(without)


def test_contacts_that_were_imported_without_effects_come_into_their_segments(time, tmp_path):
    workspace = WorkspaceFactory.create()
    a_segment(workspace, every(attribute("attributes.plan", "eq", "pro")))
    path = tmp_path / "contacts.csv"
    path.write_text("email,plan\na@x.test,pro\nb@x.test,free\n")
    run("import_contacts", path, workspace, effects="none")
    apply_effects(workspace.id)
    assert not Membership.objects.exists()
    assert "2 contacts, 2 events" in apply_later(an_import())
    apply_effects(workspace.id)
    assert Membership.objects.count() == 1
    assert_sound(workspace)


def test_no_campaign_starts(time, tmp_path):
    workspace = WorkspaceFactory.create()
    campaign = a_campaign(workspace, definition(marks(), trigger=on_event("buy")))
    path = tmp_path / "events.csv"
    path.write_text(f"event,timestamp,email\nbuy,{START.isoformat()},a@x.test\n")
    run("import_events", path, workspace, effects="none")
    apply_later(an_import())
    apply_effects(workspace.id)
    assert not enrollments_of(campaign)


def test_what_happens_now_does_not_wait_behind_them(time, tmp_path):
    workspace = with_rules()
    path = tmp_path / "events.csv"
    path.write_text(f"event,timestamp,email\nbuy,{(START - timedelta(days=9)).isoformat()},a@x.test\n")
    run("import_events", path, workspace, effects="none")
    apply_later(an_import())
    record_events(
        workspace.id, [IncomingEvent("visit", by_email("a@x.test"))], schema_policy=SchemaPolicy.OPEN
    )
    batches = EventBatch.objects.in_workspace(workspace.id).order_by("id")
    names = [
        set(Event.objects.filter(id__in=batch.event_ids).values_list("name", flat=True)) for batch in batches
    ]
    assert names == [{"visit"}, {"buy", "contact.created"}]


def test_others_are_left_alone_and_wrong_ids_named(time, tmp_path):
    workspace = with_rules()
    path = tmp_path / "events.csv"
    path.write_text(f"event,timestamp,email\nbuy,{START.isoformat()},a@x.test\n")
    run("import_events", path, workspace)
    with pytest.raises(CommandError, match="has had its effects"):
        apply_later(Import.objects.get())
    with pytest.raises(CommandError, match="no import"):
        call_command("apply_import_effects", "nonsense")
    apply_effects(workspace.id)
    time.go(hours=1)
    path.write_text(f"event,timestamp,email\nvisit,{START.isoformat()},a@x.test\n")
    run("import_events", path, workspace, effects="none")
    assert "1 contacts, 1 events" in apply_later(an_import(), dry_run=True)
    assert not EventBatch.objects.exists()
    assert Decimal(5) == sum(points for _, points in state(workspace)[0].items())


@pytest.mark.parametrize("chosen", [True, False], ids=["one segment", "all"])
def test_a_rebuild_counts_what_no_effect_has_counted_where_it_is_asked_to(time, tmp_path, chosen):
    """It builds what reads the same, too, and what comes meanwhile is counted once."""
    workspace = WorkspaceFactory.create()
    two = a_segment(workspace, every(did("buy", operator="gte", value=2)), "two")
    a_segment(workspace, every(did("buy", operator="gte", value=3)), "three")
    path = tmp_path / "events.csv"
    moments = (START - timedelta(days=90, minutes=n) for n in range(4))
    path.write_text(
        "event,timestamp,email\n" + "".join(f"buy,{moment.isoformat()},a@x.test\n" for moment in moments)
    )
    buy = IncomingEvent("buy", by_email("a@x.test"))
    record_events(workspace.id, [buy], schema_policy=SchemaPolicy.OPEN)
    apply_effects(workspace.id)
    run("import_events", path, workspace, effects="none")
    options = {"workspace": str(workspace.id), "wait": True, "stdout": StringIO(), "stderr": StringIO()}
    call_command("rebuild_segments", **options)
    assert [row[2] for row in aggregates(workspace)] == [1]
    record_events(workspace.id, [buy], schema_policy=SchemaPolicy.OPEN)
    call_command(
        "rebuild_segments", recount=True, **({"segment": [str(two.id)]} if chosen else {}), **options
    )
    apply_effects(workspace.id)
    assert [row[2] for row in aggregates(workspace)] == [6]
    assert Membership.objects.in_workspace(workspace.id).count() == 2
    assert_sound(workspace)
