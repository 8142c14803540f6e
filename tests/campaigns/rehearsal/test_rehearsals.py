"""Rehearsals write nothing but their report, run again after a dead process, and compare two versions."""

import json
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from campaigns.errors import InvalidRehearsal
from campaigns.journeys.definition.steps import UpdateContactStep
from campaigns.journeys.lifecycle import activate_campaign, create_campaign, update_campaign
from campaigns.journeys.steps import STEP_HANDLERS
from campaigns.messaging.channel_settings import save_channel
from campaigns.models import Enrollment, Message, Rehearsal
from campaigns.rehearsal import session
from campaigns.rehearsal.rehearsals import MAX_ATTEMPTS, order_rehearsal, run_rehearsal, run_waiting
from campaigns.rehearsal.session import hide_tables, run_in_session
from campaigns.schedule import REHEARSAL_SILENCE
from config import clock
from config.db.backend.connection import BoundedConnection
from contacts.crud import update_contact
from contacts.models import Contact
from contacts.references import ContactChanges, ContactReference
from events.processing.passes import apply_effects
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.campaigns.factories import a_campaign, definition, marks, node, on_event, sends, work
from tests.campaigns.messages import a_template, deliver_ready
from tests.native import NativeClient
from tests.segments.factories import a_segment, attribute, did
from tests.workspaces.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db(transaction=True)
BEGIN = datetime(2026, 4, 6, 9, tzinfo=UTC)
END = BEGIN + timedelta(days=7)


@pytest.fixture
def workspace():
    return WorkspaceFactory()


def happened(workspace, who, name, at, attributes=None, **properties):
    """Record an event as of a moment of the past."""
    reference = ContactReference(
        identifiers=(("email", f"{who}@example.test"),),
        if_missing="create",
        update_matched=True,
        changes=ContactChanges(attributes=attributes or {}),
    )
    with clock.virtual(at):
        record_events(
            workspace.id, [IncomingEvent(name, reference, properties)], schema_policy=SchemaPolicy.OPEN
        )
        apply_effects(workspace.id)


def rehearsed(campaign, *versions, since=BEGIN, until=END):
    rehearsal = order_rehearsal(campaign, since, until, versions)
    assert run_waiting() == 1
    rehearsal.refresh_from_db()
    assert rehearsal.status == Rehearsal.Status.DONE, rehearsal.error
    return rehearsal


def counts_of_all_tables():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        )
        tables = sorted(name for (name,) in cursor.fetchall() if "rehears" not in name)
        counts = {}
        for table in tables:
            cursor.execute(
                f"SELECT count(*), md5(string_agg(t::text, '' ORDER BY t::text)) FROM \"{table}\" t"
            )
            counts[table] = cursor.fetchone()
    return counts


def test_nothing_is_written_but_the_report(workspace):
    raw = definition(
        sends(workspace),
        node("note", "update", attributes={"seen": True}),
        node("label", "tag", add=["seen"]),
        marks(),
        node("call", "webhook", url="https://example.test/hook"),
    )
    campaign = create_campaign(workspace.id, name="Draft", definition=raw)
    happened(workspace, "ann", "go", BEGIN + timedelta(hours=1))
    before = counts_of_all_tables()
    rehearsal = rehearsed(campaign)
    assert counts_of_all_tables() == before
    (report,) = rehearsal.report["versions"]
    assert (report["label"], report["events"], report["entered"]) == ("draft", 1, 1)
    (enrollment,) = rehearsal.enrollments.all()
    assert [step["step"] for step in enrollment.path if step["kind"] == "STEP"] == [
        *("send", "note", "label", "mark", "call")
    ]
    assert [(message["channel"], message["status"]) for message in enrollment.messages] == [
        ("EMAIL", "SENT"),
        ("WEBHOOK", "SENT"),
    ]


_heard: list[str] | None = None


def _hear(event, arguments):
    if _heard is not None and event.startswith(("socket.connect", "socket.get", "socket.send", "subprocess")):
        _heard.append(f"{event} {arguments[1:]}")


sys.addaudithook(_hear)


@contextmanager
def calls_out():
    """Collect whatever Python asks of the network meanwhile; the database's client asks by itself."""
    global _heard
    _heard = found = []
    try:
        yield found
    finally:
        _heard = None


def test_nothing_leaves(workspace, settings):
    settings.EMAIL_BACKEND = "campaigns.messaging.channels.email.SMTPBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    save_channel(workspace.id, "email", sender="Shop <shop@shop.test>")
    save_channel(workspace.id, "telegram", secret="123:TOKEN")
    chat = a_template(workspace, "Hi", channel="telegram", subject="")
    raw = definition(
        sends(workspace),
        node("chat", "send", channel="telegram", templateId=str(chat.id), transactional=True),
        node("call", "webhook", url="https://localhost:9/hook"),
    )
    campaign = create_campaign(workspace.id, name="Draft", definition=raw)
    happened(workspace, "ann", "go", BEGIN + timedelta(hours=1))
    contact = Contact.objects.get()
    with clock.virtual(BEGIN):
        update_contact(workspace.id, contact, ContactChanges(identifiers=[("telegram", "4711")]))
    with calls_out() as heard:
        (enrollment,) = rehearsed(campaign).enrollments.all()
    assert {message["channel"]: message["status"] for message in enrollment.messages} == {
        "EMAIL": "SENT",
        "TELEGRAM": "SENT",
        "WEBHOOK": "SENT",
    }
    assert heard == []
    # The same, once it is active.
    activate_campaign(workspace.id, campaign)
    happened(workspace, "ann", "go", clock.now())
    work(workspace)
    with calls_out() as heard:
        for channel in ("email", "telegram", "webhook"):
            deliver_ready(workspace.id, channel)
    assert any("9" in call for call in heard)


def test_the_session_can_write_no_other_table(workspace):
    campaign = a_campaign(workspace)

    def write(_):
        hide_tables(workspace.id, campaign, campaign.active_version)
        workspace.save()

    with pytest.raises(Exception, match="read-only transaction"):
        run_in_session(write)


def test_what_the_campaign_itself_records_it_hears(workspace):
    raw = definition(
        node("record", "record", eventType="stage"),
        node("await", "waitForEvent", eventType="stage", timeout="1h"),
        marks(),
        edges=[("record", "await"), ("await", "mark", "timeout")],
    )
    campaign = a_campaign(workspace, raw)
    happened(workspace, "ann", "go", BEGIN + timedelta(hours=1))
    (enrollment,) = rehearsed(campaign).enrollments.all()
    assert [step["handle"] for step in enrollment.path if step["step"] == "await" and step["handle"]] == [
        "event"
    ]


def test_contacts_are_what_they_were_at_the_time(workspace):
    raw = definition(
        node(
            "which",
            "branch",
            branches=[{"handle": "gold", "condition": attribute("attributes.plan", "eq", "gold")}],
        )
    )
    campaign = create_campaign(workspace.id, name="Plans", definition=raw)
    happened(workspace, "ann", "other", BEGIN - timedelta(days=2), {"plan": "gold"})
    happened(workspace, "ann", "go", BEGIN + timedelta(hours=1))
    happened(workspace, "ann", "other", BEGIN + timedelta(days=1), {"plan": "free"})
    happened(workspace, "ann", "go", BEGIN + timedelta(days=2))
    happened(workspace, "ann", "other", END + timedelta(days=1), {"plan": "gold"})
    ways = [
        [step["handle"] for step in row.path if step["step"] == "which" and step["kind"] == "STEP"]
        for row in rehearsed(campaign).enrollments.order_by("started_at")
    ]
    assert ways == [["gold"], ["else"]]


def test_history_that_was_imported_counts_when_it_happened(workspace):
    raw = definition(sends(workspace), node("wait", "wait", duration="1d"))
    campaign = create_campaign(workspace.id, name="Imported", definition=raw)
    at = BEGIN + timedelta(hours=3)
    reference = ContactReference(identifiers=(("email", "ann@example.test"),), if_missing="create")
    record_events(
        workspace.id, [IncomingEvent("go", reference, occurred_at=at)], schema_policy=SchemaPolicy.OPEN
    )
    (enrollment,) = rehearsed(campaign).enrollments.all()
    assert (enrollment.started_at, enrollment.ended_at) == (at, at + timedelta(days=1))
    # Who was not there yet is written to where the import said.
    assert [message["status"] for message in enrollment.messages] == ["SENT"]


def test_segments_and_dates_start_it(workspace):
    buyers = a_segment(workspace, did("buy"), "Buyers")
    segment_trigger = {"type": "SEGMENT_ENTER", "segmentId": str(buyers.id)}
    date_trigger = {"type": "DATE", "field": "attributes.renewal", "offset": "-1d", "at": "08:00"}
    raw = definition(marks(), trigger=segment_trigger)
    raw["triggers"].append(date_trigger)
    campaign = create_campaign(workspace.id, name="Dates", definition=raw)
    happened(workspace, "ann", "buy", BEGIN + timedelta(hours=1))
    happened(workspace, "bob", "other", BEGIN - timedelta(days=3), {"renewal": "2026-04-09"})
    started = sorted(row.started_at for row in rehearsed(campaign).enrollments.all())
    assert started == [BEGIN + timedelta(hours=1), datetime(2026, 4, 8, 8, tzinfo=UTC)]


def test_two_versions_are_compared(workspace):
    campaign = a_campaign(workspace, definition(trigger=on_event("go")))
    update_campaign(
        workspace.id,
        campaign,
        definition=definition(
            trigger=on_event("go", {"field": "metadata.big", "operator": "eq", "value": True})
        ),
    )
    campaign.refresh_from_db()
    happened(workspace, "ann", "go", BEGIN + timedelta(hours=1), big=True)
    happened(workspace, "bob", "go", BEGIN + timedelta(hours=2))
    rehearsal = rehearsed(campaign, 1, "draft")
    assert [(report["label"], report["entered"]) for report in rehearsal.report["versions"]] == [
        ("version 1", 2),
        ("draft", 1),
    ]
    assert rehearsal.report["versions"][1]["not_entered"] == {"condition_not_met": 1}
    assert rehearsal.report["differences"] == {"both": 1, "onlyFirst": 1, "onlySecond": 0}


def test_one_whose_process_died_is_run_again(workspace):
    campaign = a_campaign(workspace)
    happened(workspace, "ann", "go", BEGIN + timedelta(hours=1))
    rehearsal = order_rehearsal(campaign, BEGIN, END, is_run_by_caller=True)
    assert run_waiting() == 0
    Rehearsal.objects.update(active_at=clock.now() - REHEARSAL_SILENCE - timedelta(seconds=1))
    assert run_waiting() == 1
    rehearsal.refresh_from_db()
    assert (rehearsal.status, rehearsal.enrollments.count()) == (Rehearsal.Status.DONE, 1)


def test_one_whose_process_dies_each_time_has_failed(workspace):
    campaign = a_campaign(workspace)
    order_rehearsal(campaign, BEGIN, END, is_run_by_caller=True)
    long_ago = clock.now() - REHEARSAL_SILENCE - timedelta(seconds=1)
    Rehearsal.objects.update(active_at=long_ago, attempts=MAX_ATTEMPTS)
    assert run_waiting() == 0
    rehearsal = Rehearsal.objects.get()
    assert (rehearsal.status, rehearsal.error) == (Rehearsal.Status.FAILED, "Its worker died 3 times.")
    assert rehearsal.finished_at is not None


def test_a_workspace_has_few_at_once_and_holds_up_no_other(workspace, settings):
    campaign = a_campaign(workspace)
    running = order_rehearsal(campaign, BEGIN, END, is_run_by_caller=True)
    waiting = order_rehearsal(campaign, BEGIN, END)
    elsewhere = order_rehearsal(a_campaign(WorkspaceFactory()), BEGIN, END)
    assert run_waiting() == 1
    statuses = dict(Rehearsal.objects.values_list("id", "status"))
    assert statuses == {running.id: "RUNNING", waiting.id: "QUEUED", elsewhere.id: "DONE"}
    settings.REHEARSALS_PER_WORKSPACE = 2
    assert run_waiting() == 1


def test_one_that_another_process_has_taken_is_left_to_it(workspace, monkeypatch):
    campaign = a_campaign(workspace)
    happened(workspace, "ann", "go", BEGIN + timedelta(hours=1))
    rehearsal = order_rehearsal(campaign, BEGIN, END, is_run_by_caller=True)
    Rehearsal.objects.update(attempts=2)
    run_rehearsal(rehearsal)
    rehearsal.refresh_from_db()
    assert (rehearsal.status, rehearsal.enrollments.count()) == (Rehearsal.Status.RUNNING, 0)


def test_a_process_that_is_busy_shows_that_it_lives(monkeypatch):
    monkeypatch.setattr(session, "HEARTBEAT_SECONDS", 0.05)
    beats = []

    def work(_):
        time.sleep(0.5)
        return "done"

    assert run_in_session(work, heartbeat=lambda: beats.append(1)) == "done"
    assert len(beats) > 2


@pytest.mark.parametrize(
    ("since", "until", "versions", "field"),
    [
        (END, BEGIN, (), "until"),
        (BEGIN, clock.now() + timedelta(days=1), (), "until"),
        (datetime.min.replace(tzinfo=UTC), END, (), "since"),
        (datetime(1969, 12, 31, 23, 59, tzinfo=UTC), END, (), "since"),
        (BEGIN, END, (7,), "versions"),
        (BEGIN, END, ("draft", 1, 1), "versions"),
    ],
    ids=["backwards", "future", "beginning of time", "before 1970", "unknown", "three"],
)
def test_what_cannot_be_rehearsed_is_refused(workspace, since, until, versions, field):
    with pytest.raises(InvalidRehearsal) as refused:
        order_rehearsal(a_campaign(workspace), since, until, versions)
    assert refused.value.field == field


def test_the_command_says_which_of_its_options_is_wrong(workspace):
    with pytest.raises(CommandError, match=r"^--to: Must be after the beginning\.$"):
        call_command(
            "rehearse_campaign", str(a_campaign(workspace).id), "--from", "2025-02-01", "--to", "2025-01-01"
        )


def test_a_campaign_that_is_only_started_by_hand_has_nothing_to_rehearse(workspace):
    with pytest.raises(InvalidRehearsal, match="no trigger"):
        order_rehearsal(a_campaign(workspace, definition(trigger={"type": "MANUAL"})), BEGIN, END)


def test_the_api_orders_and_shows_them(workspace):
    api = NativeClient(workspace)
    campaign = a_campaign(workspace, definition(sends(workspace)))
    happened(workspace, "ann", "go", BEGIN + timedelta(hours=1))
    Enrollment.objects.all().delete()
    Message.objects.all().delete()
    path = f"campaigns/{campaign.id}/rehearsals"
    answer = api.post(path, {"from": BEGIN.isoformat(), "to": END.isoformat()})
    assert answer.status_code == 202, answer.json()
    assert (answer.json()["status"], answer.json()["reports"]) == ("QUEUED", [])
    assert run_waiting() == 1
    shown = api.get(f"{path}/{answer.json()['id']}").json()
    assert (shown["status"], shown["progress"], shown["versions"]) == ("DONE", 1.0, ["version 1"])
    assert shown["reports"][0]["entered"] == 1
    assert shown["reports"][0]["messages"]["EMAIL"]["total"] == 1
    (enrollment,) = api.get(f"{path}/{shown['id']}/enrollments").json()["data"]
    assert enrollment["contact"]["email"] == "ann@example.test"
    assert enrollment["messages"][0]["status"] == "SENT"
    assert api.get(path).json()["data"] == [shown]
    refused = api.post(path, {"from": END.isoformat(), "to": BEGIN.isoformat(), "versions": ["x"]})
    assert (refused.status_code, list(refused.json()["details"])) == (400, ["versions"])


def test_the_command_prints_what_would_have_happened(workspace):
    campaign = a_campaign(workspace, name="Welcome")
    happened(workspace, "ann", "go", BEGIN + timedelta(hours=1))
    period = ["--from", BEGIN.isoformat(), "--to", END.isoformat()]
    out = StringIO()
    call_command("rehearse_campaign", str(campaign.id), *period, stdout=out)
    assert out.getvalue().startswith("Welcome, version 1: 1 events, 1 entered, 0 did not, 0 messages sent")
    out = StringIO()
    call_command("rehearse_campaign", str(campaign.id), *period, "--json", stdout=out)
    assert json.loads(out.getvalue())["versions"][0]["entered"] == 1
    with pytest.raises(CommandError, match="no campaign"):
        call_command("rehearse_campaign", str(workspace.id), *period)
    with pytest.raises(CommandError, match="no version 9"):
        call_command("rehearse_campaign", str(campaign.id), *period, "--versions", "9")


def test_what_it_records_needs_no_partition(workspace):
    # Nothing ever happened in the month in which the message would have left.
    at = datetime(2023, 2, 10, tzinfo=UTC)
    raw = definition(node("wait", "wait", duration="40d"), sends(workspace))
    campaign = create_campaign(workspace.id, name="Long ago", definition=raw)
    reference = ContactReference(identifiers=(("email", "ann@example.test"),), if_missing="create")
    record_events(
        workspace.id, [IncomingEvent("go", reference, occurred_at=at)], schema_policy=SchemaPolicy.OPEN
    )
    (enrollment,) = rehearsed(campaign, since=at, until=at + timedelta(days=50)).enrollments.all()
    assert [message["status"] for message in enrollment.messages] == ["SENT"]


def test_a_step_that_fails_is_rolled_back_alone(workspace, monkeypatch):
    update = STEP_HANDLERS[UpdateContactStep]

    def fail_for_bob(context, enrollments):
        outcomes = update(context, enrollments)
        for enrollment in enrollments:
            if "bob@example.test" in str(context.person(enrollment).state.identifiers):
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1 / 0")
        return outcomes

    monkeypatch.setitem(STEP_HANDLERS, UpdateContactStep, fail_for_bob)
    raw = definition(node("note", "update", attributes={"seen": True}), marks())
    campaign = create_campaign(workspace.id, name="Draft", definition=raw)
    for who in ("ann", "bob"):
        happened(workspace, who, "go", BEGIN + timedelta(hours=1))
    ended = {
        (row.status, row.end_reason, row.ended_at - row.started_at > timedelta(minutes=1))
        for row in rehearsed(campaign).enrollments.all()
    }
    assert ended == {("completed", "end_of_workflow", False), ("failed", "step_failed", True)}


def test_a_relevant_event_takes_few_round_trips(workspace, monkeypatch):
    trips = Counter()
    wait = BoundedConnection.wait

    def counted(self, *args, **kwargs):
        trips[threading.current_thread().name.rpartition("_")[0]] += 1
        return wait(self, *args, **kwargs)

    raw = definition(sends(workspace), node("wait", "wait", duration="1h"), marks())
    campaign = create_campaign(workspace.id, name="Trips", definition=raw)
    events = 20
    for place in range(events):
        happened(workspace, f"p{place}", "go", BEGIN + timedelta(hours=place))
    empty = rehearsed(campaign, since=END - timedelta(days=1))
    monkeypatch.setattr(BoundedConnection, "wait", counted)
    rehearsed(campaign, since=END - timedelta(days=1))
    fixed = trips["rehearsal"]
    report = rehearsed(campaign).report["versions"][0]
    assert (empty.report["versions"][0]["events"], report["events"]) == (0, events)
    # Enrollment, message, its sending and the end of the wait; nearly twice as many with a transaction for each.
    assert (trips["rehearsal"] - 2 * fixed) / events < 60
