"""Refused events are kept, counted by cause, and replayed once, as of when they came."""

import threading
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from config import clock
from contacts.erasure.erasures import erase_person
from contacts.models import ContactScore
from contacts.references import ContactReference
from events.models import EffectsLevel, Event, EventBatch, RefusedEvent
from events.processing.passes import apply_effects
from events.replay import causes, replay_batch, replayable
from events.stream.definitions import PropertySpec, create_definition
from events.stream.quarantine import Refusal, keep_refused, purge_old_refusals
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from tests.native import NativeClient
from tests.scoring.factories import a_rule
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db(transaction=True)
CAME = datetime(2026, 5, 4, 12, tzinfo=UTC)
WHO = ContactReference(identifiers=(("email", "jane@example.test"),), if_missing="create")


@pytest.fixture
def workspace():
    return WorkspaceFactory()


def a_purchase(**changes):
    return IncomingEvent(**{"name": "purchase", "contact": WHO, "properties": {"amount": 5}, **changes})


def refuse(workspace, *incoming, at=CAME):
    """Send events that are not declared, and keep the refused."""
    with clock.virtual(at):
        outcomes = record_events(workspace.id, incoming, schema_policy=SchemaPolicy.DECLARED)
        refusals = [
            Refusal(event, outcome.error, SchemaPolicy.DECLARED, Event.Source.API, is_of_batch=True)
            for event, outcome in zip(incoming, outcomes, strict=True)
            if outcome.error is not None
        ]
        return keep_refused(workspace.id, refusals, clock.now())


def mend(workspace, type_="integer"):
    create_definition(workspace.id, "purchase", properties=[PropertySpec("amount", type_)])


def stored(workspace):
    return list(Event.objects.in_workspace(workspace.id).filter(name="purchase").order_by("occurred_at"))


def replay(workspace, **more):
    return replay_batch(workspace.id, replayable(workspace.id), **more)


def test_what_was_refused_is_recorded_once_with_its_time_and_id(workspace):
    with clock.virtual(CAME - timedelta(days=1)):
        a_rule(workspace, "purchase", 7)
    happened = CAME - timedelta(hours=2)
    refuse(
        workspace,
        a_purchase(message_id="a", occurred_at=happened),
        a_purchase(message_id="b"),
        a_purchase(),
    )
    mend(workspace)
    assert replay(workspace).recorded == 3
    assert replay(workspace).total == 0
    assert not RefusedEvent.objects.exists()
    first, *others = stored(workspace)
    assert (first.message_id, first.occurred_at, first.received_at) == ("a", happened, CAME)
    assert [(event.occurred_at, event.received_at) for event in others] == [(CAME, CAME)] * 2
    # Its sender tries again, as of then: it is known.
    with clock.virtual(CAME + timedelta(minutes=1)):
        again = record_events(
            workspace.id,
            [a_purchase(message_id="a", occurred_at=happened), a_purchase(message_id="b")],
            schema_policy=SchemaPolicy.DECLARED,
        )
    assert [outcome.status for outcome in again] == ["duplicate", "duplicate"]
    apply_effects(workspace.id)
    assert ContactScore.objects.get(workspace=workspace).points == 21


def test_what_is_refused_again_stays_with_the_new_cause(workspace):
    refuse(workspace, a_purchase(properties={"amount": "many"}), a_purchase())
    assert [(cause.code, cause.count) for cause in causes(replayable(workspace.id))] == [
        ("event_not_defined", 2)
    ]
    mend(workspace)
    replayed = replay(workspace)
    assert (replayed.recorded, replayed.refused) == (1, 1)
    row = RefusedEvent.objects.get()
    assert (row.code, row.attempts, row.received_at) == ("invalid_property_value", 1, CAME)
    assert replay_batch(workspace.id, replayable(workspace.id, code="event_not_defined")).total == 0


def test_history_starts_no_campaign(workspace):
    refuse(workspace, a_purchase())
    refuse(workspace, a_purchase(), at=clock.now() - timedelta(hours=1))
    mend(workspace)
    replay(workspace)
    own = EventBatch.objects.filter(event_ids__overlap=[event.id for event in stored(workspace)])
    assert sorted(own.values_list("level", flat=True)) == [EffectsLevel.SCORES_AND_SEGMENTS, EffectsLevel.ALL]


def test_two_that_replay_at_once_record_nothing_twice(workspace):
    refuse(workspace, *(a_purchase() for _ in range(40)))
    mend(workspace)
    barrier, counts = threading.Barrier(4), []

    def run():
        try:
            connection.ensure_connection()
            barrier.wait(20)
            while (replayed := replay(workspace, limit=7)).total:
                counts.append(replayed.recorded)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(barrier.parties)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) + replay(workspace).recorded == 40
    assert len(stored(workspace)) == 40


def test_as_many_are_kept_as_the_limit_says_and_as_long(workspace, settings):
    settings.QUARANTINE_EVENTS = 3
    refuse(workspace, a_purchase(message_id="old"), at=clock.now() - timedelta(days=31))
    refuse(workspace, *(a_purchase(message_id=str(number)) for number in range(2)), at=clock.now())
    assert purge_old_refusals() == 1
    refuse(workspace, *(a_purchase(message_id=f"more {number}") for number in range(2)), at=clock.now())
    kept = [row.incoming["message_id"] for row in RefusedEvent.objects.order_by("id")]
    assert len(kept) == 3
    assert {"more 0", "more 1"} < set(kept)


@pytest.mark.parametrize(
    ("choice", "kept"), [("none", 0), ("batches", 1), ("all", 2)], ids=["none", "batches", "all"]
)
def test_the_workspace_chooses(workspace, choice, kept):
    Workspace.objects.update(quarantine=choice)
    api = NativeClient(workspace)
    event = {"type": "purchase", "contactId": "0199c0de-0000-7000-8000-000000000001"}
    assert api.post("events/batch", {"events": [event]}).status_code == 200
    assert api.post("events", event).status_code == 404
    assert RefusedEvent.objects.count() == kept


def test_the_api_shows_replays_and_discards(workspace):
    api = NativeClient(workspace)
    refuse(workspace, a_purchase(), a_purchase(name="other"))
    (cause,) = [cause for cause in api.get("refused-events/causes").json() if cause["type"] == "purchase"]
    assert (cause["code"], cause["count"], cause["firstAt"]) == (
        "event_not_defined",
        1,
        "2026-05-04T12:00:00.000Z",
    )
    (row,) = api.get("refused-events", type="purchase").json()["data"]
    assert row["event"]["properties"] == {"amount": 5}
    assert api.get(f"refused-events/{row['id']}").json() == row
    mend(workspace)
    assert api.post("refused-events/replay", {"type": "purchase"}).json() == {
        "recorded": 1,
        "duplicates": 0,
        "refused": 0,
        "next": None,
    }
    (other,) = api.get("refused-events").json()["data"]
    assert api.delete(f"refused-events/{other['id']}").status_code == 204
    assert api.get(f"refused-events/{other['id']}").status_code == 404


def test_the_command_replays_and_tells_what_is_left(workspace):
    refuse(workspace, *(a_purchase() for _ in range(5)), a_purchase(properties={"amount": "many"}))
    mend(workspace)
    out = StringIO()
    with pytest.raises(CommandError, match="refused again"):
        call_command("replay_refused", "--dry-run", "--workspace", str(workspace.id), stdout=out)
    assert RefusedEvent.objects.count() == 6
    with pytest.raises(CommandError, match="refused again"):
        call_command("replay_refused", "--batch-size", "2", stdout=out)
    assert "6 events, 5 recorded, 0 known already, 1 failed\n" in out.getvalue()
    assert RefusedEvent.objects.count() == 1
    RefusedEvent.objects.all().delete()
    call_command("replay_refused", stdout=out)


def test_an_erased_persons_are_deleted_and_never_replayed(workspace):
    record_events(workspace.id, [a_purchase(name="seen")], schema_policy=SchemaPolicy.OPEN)
    refuse(workspace, a_purchase(), a_purchase(contact=None))
    jane = Event.objects.get(name="seen").contact
    erase_person(workspace.id, jane)
    (left,) = RefusedEvent.objects.all()
    assert left.incoming["contact"] is None
    # Nor is one kept that comes afterwards.
    (outcome,) = record_events(workspace.id, [a_purchase()], schema_policy=SchemaPolicy.OPEN)
    refusal = Refusal(a_purchase(), outcome.error, SchemaPolicy.OPEN, Event.Source.API, is_of_batch=True)
    assert keep_refused(workspace.id, [refusal], clock.now()) == 0


def test_what_no_database_can_store_is_not_kept(workspace):
    assert (
        refuse(
            workspace, a_purchase(properties={"note": "a\x00b"}), a_purchase(properties={"x": "y" * 200_000})
        )
        == 0
    )


@pytest.mark.parametrize("isolated", [False, True], ids=["at once", "each before the others commit"])
def test_the_limit_holds_under_writers_at_once(workspace, settings, isolated):
    """Of writers that do not see each other's rows the last one makes room for all."""
    settings.QUARANTINE_EVENTS = 50
    writers, each = 6, 20
    barrier = threading.Barrier(writers)
    failures = []

    def write(number):
        try:
            with transaction.atomic():
                if isolated:
                    # Each sees the rows as they were before any other writer's.
                    barrier.wait(20)
                refuse(workspace, *(a_purchase(message_id=f"{number}-{place}") for place in range(each)))
                if isolated:
                    barrier.wait(20)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=[number]) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert RefusedEvent.objects.count() <= settings.QUARANTINE_EVENTS
