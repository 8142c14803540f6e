"""Retention: old events go, with what refers to them; what waits for its effects stays; a killed run goes on.

Old months are dropped beside those who send and read.
"""

import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from time import perf_counter, sleep

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from campaigns.models import Decision
from config import clock
from events.models import EffectsLevel, Event, EventBatch, MessageKey
from events.processing.passes import apply_effects
from events.stream import retention
from events.stream.partitions import ensure_partitions
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from scoring.models import ScoreEntry
from scoring.verification import verify_contacts
from tests.scoring.factories import a_rule
from tests.scoring.histories import person, score_of, send
from tests.threads import at_once
from tests.workspaces.factories import WorkspaceFactory
from workspaces.models import BackfillJob, Workspace

pytestmark = pytest.mark.django_db
LONG_AGO = datetime(2025, 3, 10, 12, tzinfo=UTC)
LATER = datetime(2025, 4, 20, 12, tzinfo=UTC)


@pytest.fixture
def workspace(settings):
    """Three old purchases and a new one of Ada, and an old look, with a point each."""
    settings.EVENT_EFFECTS = ["scoring.effects.apply_scoring_rules"]
    made = WorkspaceFactory(name="Mill")
    for name in ("buy", "look"):
        a_rule(made, name, 1)
    send(made, *(("ada", LONG_AGO + timedelta(days=day), {}) for day in range(2)))
    send(made, ("ada", LATER, {}), ("ada", None, {}))
    send(made, ("ada", LONG_AGO, {}), name="look")
    apply_effects(made.id)
    return made


def run(*arguments):
    out = StringIO()
    call_command("apply_retention", *arguments, stdout=out, stderr=StringIO())
    return out.getvalue()


def sent(workspace):
    """Return how many events of each name are left, but for those of the system."""
    names = Event.objects.in_workspace(workspace.id).values_list("name", flat=True)
    return {name: list(names).count(name) for name in ("buy", "look")}


@pytest.mark.django_db(transaction=True)
def test_of_one_workspace_old_events_go_one_by_one_and_scores_stay(workspace):
    other = WorkspaceFactory(name="Other")
    send(other, ("ada", LONG_AGO, {}))
    apply_effects(other.id)
    out = run("--before", "2025-04-01T00:00:00Z", f"--workspace={workspace.id}", "--batch-size=1")
    assert out == "Mill: 3 events, 0 decisions, 0 message keys, 0 failed\n"
    assert sent(workspace) == {"buy": 2, "look": 0}
    assert sent(other) == {"buy": 1, "look": 0}
    assert score_of(workspace, "ada") == 5
    contact_ids = list(ScoreEntry.objects.filter(workspace=workspace).values_list("contact_id", flat=True))
    assert verify_contacts(workspace.id, contact_ids) == []


def test_of_one_name_the_others_stay(workspace):
    assert run("--before", "2025-12-01T00:00:00Z", "--event-name=buy").startswith("Mill: 3 events")
    assert sent(workspace) == {"buy": 1, "look": 1}


def test_points_go_along_where_that_is_wanted(workspace):
    out = run("--before", "2025-04-01T00:00:00Z", f"--workspace={workspace.id}", "--with-points")
    assert "3 score entries" in out
    assert ScoreEntry.objects.filter(workspace=workspace).count() == 2
    assert score_of(workspace, "ada") == Decimal(2)


@pytest.fixture(autouse=True)
def _no_months_of_other_tests(db):
    """Drop the empty ones that a committed test before has left."""
    with connection.cursor() as cursor:
        for name in partitions():
            if "before" not in name and name < f"events_event_y{LONG_AGO:%Ym%m}":
                cursor.execute(f"DROP TABLE {name}")


def partitions():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relname ~ '^events_event_(before_)?y[0-9]{4}m[0-9]{2}$'"
        )
        return {name for (name,) in cursor.fetchall()}


def test_of_all_workspaces_whole_months_are_dropped(workspace):
    out = run("--before", "2025-04-25T00:00:00Z")
    assert "1 months dropped, events_event_y2025m03" in out
    assert "events_event_y2025m03" not in partitions()
    # Of April some days are not old enough.
    assert sent(workspace) == {"buy": 2, "look": 0}
    assert score_of(workspace, "ada") == 5
    send(workspace, ("ada", LONG_AGO, {}))
    assert sent(workspace) == {"buy": 3, "look": 0}
    assert "events_event_y2025m03" in partitions()


def test_the_last_months_and_what_is_older_than_all_months_are_emptied(workspace):
    """Every insert goes by their being there."""
    now = clock.now()
    last_month = now.replace(day=1) - timedelta(days=10)
    send(workspace, ("eve", last_month, {}), ("eve", datetime(1999, 1, 1, tzinfo=UTC), {}))
    apply_effects(workspace.id)
    (oldest,) = [name for name in partitions() if "before" in name]
    last = f"events_event_y{last_month:%Ym%m}"
    out = run("--before", now.replace(day=1, hour=0).isoformat())
    assert f"2 months emptied, {oldest}, {last}\n" in out
    assert {oldest, last} <= partitions()
    assert sent(workspace) == {"buy": 1, "look": 0}


@pytest.mark.django_db(transaction=True)
class TestBesideWriters:
    """A removal waits 0.2 s for its locks, lets everybody go on, and tries again."""

    def test_ingestion_waits_no_longer_than_a_try(self, workspace):
        """Somebody reads the whole stream all the time; sends that come meanwhile are answered soon."""
        begun, done = threading.Event(), threading.Event()
        seconds = []

        def read():
            with transaction.atomic():
                assert Event.objects.filter(name="buy").count() == 4
                begun.set()
                done.wait(30)

        def write():
            begun.wait(30)
            try:
                for moment in (None, LATER) * 10:
                    began = perf_counter()
                    send(workspace, ("ada", moment, {}))
                    seconds.append(perf_counter() - began)
                    sleep(0.05)
            finally:
                done.set()

        def remove():
            begun.wait(30)
            assert "1 months dropped, events_event_y2025m03" in run("--before", "2025-04-25T00:00:00Z")

        with patched(retention, PAUSE_SECONDS=0.2, ATTEMPTS=200):
            at_once(read, write, remove)
        # A try, and as much again for a busy machine.
        assert max(seconds) < 2 * (retention.LOCK_MILLISECONDS + retention.HELD_MILLISECONDS) / 1000
        assert len(seconds) == 20

    def test_who_writes_to_a_month_that_goes_has_it_back(self, workspace):
        """Nobody is refused, whether he comes before, while or after it is dropped."""
        stop = threading.Event()
        sends = Counter()

        def write():
            while not stop.is_set():
                record_events(
                    workspace.id,
                    [IncomingEvent("buy", person("ada"), {}, occurred_at=LONG_AGO)],
                    schema_policy=SchemaPolicy.OPEN,
                    level=EffectsLevel.NONE,
                )
                sends["done"] += 1

        def remove():
            try:
                for _ in range(4):
                    sends["dropped"] += "1 months dropped" in run("--before", "2025-04-25T00:00:00Z")
            finally:
                stop.set()

        with patched(retention, PAUSE_SECONDS=0.05):
            at_once(write, remove)
        assert sends["done"] >= 4
        assert sends["dropped"] >= 2

    def test_a_month_that_is_held_for_an_insert_is_not_dropped_before_it(self, workspace):
        held, tried = threading.Event(), threading.Event()

        def write():
            with transaction.atomic():
                ensure_partitions([LONG_AGO])
                held.set()
                assert tried.wait(30)
                send(workspace, ("late", LONG_AGO, {}))

        def remove():
            assert held.wait(30)
            with pytest.raises(CommandError, match="others use them: events_event_y2025m03"):
                run("--before", "2025-04-25T00:00:00Z")
            tried.set()

        with patched(retention, PAUSE_SECONDS=0.01, ATTEMPTS=2):
            at_once(write, remove)
        # It waits for its effects.
        assert "0 months dropped" in run("--before", "2025-04-25T00:00:00Z")
        apply_effects(workspace.id)
        assert "1 months dropped" in run("--before", "2025-04-25T00:00:00Z")


@contextmanager
def patched(module, **values):
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setattr(module, name, value)
        yield


def test_decisions_and_keys_of_what_goes_go_along(workspace):
    for event in Event.objects.filter(name="buy"):
        MessageKey.objects.create(workspace=workspace, key=str(event.id), event_id=event.id)
        for enrollment_id in (None, event.id):
            Decision.objects.create(
                workspace=workspace,
                contact_id=event.contact_id,
                kind="not_entered",
                event_id=event.id,
                enrollment_id=enrollment_id,
                decided_at=clock.now(),
            )
    out = run("--before", "2025-04-01T00:00:00Z")
    assert "3 events, 2 decisions, 2 message keys" in out
    assert MessageKey.objects.filter(workspace=workspace).count() == 2
    assert Decision.objects.filter(enrollment_id=None).count() == 2
    assert Decision.objects.exclude(enrollment_id=None).count() == 4


@pytest.mark.parametrize("scope", ["one", "all"])
def test_what_waits_for_its_effects_stays(workspace, scope):
    send(workspace, ("bob", LONG_AGO, {}))
    assert EventBatch.objects.exists()
    run("--before", "2025-04-01T00:00:00Z", *([f"--workspace={workspace.id}"] if scope == "one" else []))
    apply_effects(workspace.id)
    assert score_of(workspace, "bob") == 1


def dependents_of_one_workspace_fail(workspace_id, event_ids, deletes_points):
    if Workspace.objects.get(id=workspace_id).name == "Broken":
        raise RuntimeError("no luck")
    return {}


def test_months_of_a_workspace_in_which_dependents_stay_are_not_emptied(workspace, settings):
    settings.EVENT_DEPENDENTS = [
        f"{__name__}.{dependents_of_one_workspace_fail.__name__}",
        *settings.EVENT_DEPENDENTS,
    ]
    broken = WorkspaceFactory(name="Broken")
    send(broken, ("eve", LATER, {}))
    apply_effects(broken.id)
    (event,) = Event.objects.in_workspace(broken.id).filter(name="buy")
    Decision.objects.create(
        workspace=broken,
        contact_id=event.contact_id,
        kind="not_entered",
        event_id=event.id,
        decided_at=clock.now(),
    )
    out, errors = StringIO(), StringIO()
    with pytest.raises(CommandError, match="goes on there") as raised:
        call_command("apply_retention", "--before", "2025-05-01T00:00:00Z", stdout=out, stderr=errors)
    assert raised.value.returncode == 1
    # In March the broken one has no events; April is kept, of the sound one too.
    assert "1 months dropped, events_event_y2025m03\n" in out.getvalue()
    assert "Broken: after 0 events: no luck" in errors.getvalue()
    assert errors.getvalue().endswith("is left: events_event_y2025m04\n")
    assert sent(workspace) == {"buy": 2, "look": 0}
    assert sent(broken) == {"buy": 1, "look": 0}
    assert Decision.objects.in_workspace(broken.id).filter(event_id=event.id).exists()
    settings.EVENT_DEPENDENTS = settings.EVENT_DEPENDENTS[1:]
    assert "1 months dropped, events_event_y2025m04" in run("--before", "2025-05-01T00:00:00Z")
    assert not Decision.objects.in_workspace(broken.id).filter(event_id=event.id).exists()


def test_a_dry_run_counts_and_deletes_nothing(workspace):
    out = run("--before", "2025-04-01T00:00:00Z", "--dry-run")
    assert "Mill: 3 events" in out
    assert "months are old (dry run: nothing was changed)" in out
    assert sent(workspace) == {"buy": 4, "look": 1}


def test_a_killed_run_goes_on(workspace, monkeypatch):
    class Killed(BaseException):
        pass

    real, calls = retention.execute, []

    def kill(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise Killed
        return real(*arguments)

    options = ["--before", "2025-04-25T00:00:00Z", f"--workspace={workspace.id}", "--batch-size=1"]
    with monkeypatch.context() as patch:
        patch.setattr(retention, "execute", kill)
        with pytest.raises(Killed):
            run(*options)
    assert BackfillJob.objects.get().done == 2
    assert run(*options).startswith("Mill: 4 events")
    assert sent(workspace) == {"buy": 1, "look": 0}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--days=0"],
        ["--before=yesterday"],
        ["--before=2025-04-01T00:00:00"],
        ["--before=2225-04-01T00:00:00Z"],
        [],
        ["--days=1", "--before=2025-04-01T00:00:00Z"],
    ],
    ids=str,
)
def test_an_age_that_means_nothing_is_refused(workspace, arguments):
    with pytest.raises(CommandError):
        run(*arguments)
