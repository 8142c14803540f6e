"""Who may read the figures, and that they are whole."""

import errno
import os
import re
import subprocess
import sys
import threading
import time
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections
from django.test import Client
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

from config import clock
from config.http import database_metrics, readiness
from config.http import metrics as views
from config.observability.metrics import deferred, process_files
from config.observability.metrics.counters import (
    CONNECTION_SLOTS,
    CONNECTION_WAITS,
    CONNECTIONS_IN_USE,
    Connections,
    Requests,
    dialect_of,
)
from config.observability.timed_probes import TimedProbe
from events import metrics as event_metrics
from events.models import Heartbeat
from events.processing.heartbeat import heartbeat_age, record_heartbeat
from tests.config.runtime.test_supervisor import wait_for

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _nothing_looked_at(monkeypatch):
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0.0)


def status(remote: str = "127.0.0.1", token: str | None = None, **headers: str) -> int:
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return Client().get("/metrics", headers=headers, REMOTE_ADDR=remote).status_code


@pytest.fixture
def no_database(monkeypatch):
    monkeypatch.setattr(database_metrics, "_read", list)
    monkeypatch.setattr(database_metrics._PROBE, "_check", list)
    monkeypatch.setattr(readiness, "state", lambda: {"database": "ok"})


@pytest.mark.usefixtures("no_database")
def test_without_a_setting_only_this_machine_reads_them(settings):
    settings.METRICS_TOKEN, settings.METRICS_ALLOWED = "", []
    assert status() == 200
    assert status("::1") == 200
    assert status("192.0.2.7") == 404
    assert status("") == 404
    for name in ("x-forwarded-for", "forwarded", "x-real-ip", "x-forwarded-proto", "via"):
        assert status(**{name: "127.0.0.1"}) == 404, name


@pytest.mark.usefixtures("no_database")
def test_a_token_is_asked_for_wherever_the_request_comes_from(settings):
    settings.METRICS_TOKEN, settings.METRICS_ALLOWED = "secret", []
    assert status("192.0.2.7", "secret") == 200
    assert status("127.0.0.1") == 403
    for wrong in ("", "Secret", "secret ", "sécret"):
        assert status("127.0.0.1", wrong) == 403


@pytest.mark.usefixtures("no_database")
def test_networks_are_held_against_the_address_that_our_proxies_saw(settings):
    settings.METRICS_TOKEN, settings.METRICS_ALLOWED = (
        "",
        [ip_network("10.1.0.0/16"), ip_network("2001:db8::/32")],
    )
    assert status("10.1.2.3") == 200
    assert status("2001:db8::7") == 200
    assert status("127.0.0.1") == 404
    assert status("127.0.0.1", **{"x-forwarded-for": "10.1.2.3"}) == 404
    settings.PROXY_COUNT = 1
    assert status("127.0.0.1", **{"x-forwarded-for": "192.0.2.1, 10.1.2.3"}) == 200
    assert status("127.0.0.1", **{"x-forwarded-for": "10.1.2.3, 192.0.2.1"}) == 404
    settings.METRICS_TOKEN = "secret"
    assert status("127.0.0.1", "wrong", **{"x-forwarded-for": "10.1.2.3"}) == 403
    assert status("127.0.0.1", "secret", **{"x-forwarded-for": "10.1.2.3"}) == 200


@pytest.mark.usefixtures("no_database")
def test_they_are_there_under_any_host_and_over_plain_http_in_production(settings):
    settings.ALLOWED_HOSTS = ["headrace.example"]
    settings.SECURE_SSL_REDIRECT = True
    assert status(host="10.0.0.7") == 200
    assert Client().post("/metrics").status_code == 405


@pytest.mark.django_db(transaction=True)
def test_the_database_is_asked_one_statement_on_a_connection_of_its_own(
    monkeypatch, django_assert_num_queries
):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO events_eventbatch (id, workspace_id, lane, event_ids, level, created_at, is_repeat)"
            " VALUES (gen_random_uuid(), gen_random_uuid(), 1, '{}', 1, now() - interval '90 s', false)"
        )
    executed = []
    connect = readiness.connect

    def spying(seconds: float = 10.0):
        own = connect(seconds)
        if seconds == database_metrics.STATEMENT_SECONDS:
            execute = own.execute
            own.execute = lambda *words: executed.append(words) or execute(*words)
        return own

    monkeypatch.setattr(readiness, "connect", spying)
    record_heartbeat()
    with django_assert_num_queries(0):
        text = Client().get("/metrics").content.decode()
    assert len(executed) == 1
    figures = dict(re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE))
    assert figures["headrace_database_up"] == "1.0"
    assert figures["headrace_effects_waiting_batches"] == "1.0"
    assert 90 <= float(figures["headrace_effects_lag_seconds"]) < 600
    assert 0 <= float(figures["headrace_heartbeat_age_seconds"]) < 600
    assert figures['headrace_ready{part="migrations"}'] == "1.0"
    assert float(figures["headrace_database_connections_limit"]) > 50
    for name in database_metrics.database_gauges():
        is_empty = name in {"headrace_messages_ready"}
        assert is_empty or f"\n{name}" in text, name
    age = heartbeat_age()
    assert age is not None
    assert 0 <= age < 600


@pytest.mark.django_db(transaction=True)
def test_a_database_that_answers_too_slowly_costs_its_figures_and_no_more(monkeypatch):
    monkeypatch.setattr(database_metrics, "STATEMENT_SECONDS", 0.05)
    slow = (
        *event_metrics.STORED,
        event_metrics.DatabaseGauge("headrace_slow", "", "SELECT NULL, 1 FROM pg_sleep(60)"),
    )
    monkeypatch.setattr(database_metrics, "database_gauges", lambda: {gauge.name: gauge for gauge in slow})
    began = time.monotonic()
    text = Client().get("/metrics").content.decode()
    assert time.monotonic() - began < 10
    assert "headrace_database_up 0.0" in text
    assert "headrace_processes" in text
    connections.close_all()


def test_wire_formats_are_named_by_their_folders():
    def view(module: str) -> type:
        return type("View", (), {"__module__": module})

    assert dialect_of(view("dialects.somebody.views")) == "somebody"
    assert dialect_of(view("events.api.views")) == "native"


def test_durations_are_counted_as_the_library_counts_them():
    registry = CollectorRegistry()
    ours = Histogram("ours", "", ["name"], buckets=(0.1, 1), registry=registry)
    plain = Histogram("plain", "", ["name"], buckets=(0.1, 1), registry=registry)
    seen = [0.05, 0.1, 0.5, 1.0, 7.0]
    deferred.Durations(ours).add((("x",), one) for one in seen)
    for one in seen:
        plain.labels("x").observe(one)
    samples = [
        {(sample.name.split("_")[1], *sample.labels.items()): sample.value for sample in family.samples}
        for family in registry.collect()
    ]
    for told in samples:
        told.pop(("created", ("name", "x")))
    assert samples[0] == samples[1]


def test_connections_are_looked_at_for_as_long_as_some_are_lent(monkeypatch):
    monkeypatch.setattr(deferred, "SECONDS", 0.01)
    states = [Connections(5, 2, 1, 3, 0), Connections(5, 1, 0, 3, 2), Connections(5, 0, 0, 4, 2)]
    told = []

    def look():
        told.append(states[min(len(told), 2)])
        return told[-1]

    def counted(outcome):
        return CONNECTION_WAITS.labels(outcome)._value.get()

    before = counted("waited"), counted("refused")
    requests = Requests()
    monkeypatch.setattr(requests, "connections", look)
    requests.add(("native", 200, 0.1))
    wait_for(lambda: len(told) >= 3, 10)
    wait_for(lambda: CONNECTIONS_IN_USE._value.get() == 0, 10)
    assert CONNECTION_SLOTS._value.get() == 5
    assert (counted("waited") - before[0], counted("refused") - before[1]) == (4, 2)
    time.sleep(0.1)
    assert len(told) == 3


def test_what_is_seen_from_many_threads_is_written_once(monkeypatch):
    monkeypatch.setattr(deferred, "SECONDS", 0.01)
    written: list[int] = []
    seen = deferred.DeferredMetrics[int](written.extend)
    threads = [
        threading.Thread(target=lambda: [seen.add(number) for number in range(1000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    deadline = time.monotonic() + 10
    while len(written) < 4000:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert sorted(written) == sorted(list(range(1000)) * 4)


def test_what_is_seen_is_written_once_the_system_gives_a_thread(monkeypatch):
    monkeypatch.setattr(deferred, "SECONDS", 0.01)
    written: list[int] = []
    seen = deferred.DeferredMetrics[int](written.extend)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        seen.add(1)
    seen.add(2)
    wait_for(lambda: written == [1, 2], 10)


def test_a_look_for_which_there_is_no_thread_has_failed_and_the_next_one_has_not(monkeypatch):
    look = TimedProbe[str](lambda: "seen", "nothing yet", "look", broken="broken", fresh_seconds=lambda: 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        look.start()
        assert look.result(time.monotonic() + 10) == "broken"
    look.start()
    assert look.result(time.monotonic() + 10) == "seen"


def no_thread(_):
    raise RuntimeError("can't start new thread")


COUNT = """
import os, sys
sys.argv[0] = "/bin/celery"; sys.argv[1:] = ["worker"]
from prometheus_client import Counter, Gauge
from config.observability.metrics.process_files import REGISTRY
counter = Counter("counted", "", ["name"], registry=REGISTRY)
state = Gauge("state", "", registry=REGISTRY, multiprocess_mode="livesum")
counter.labels("x").inc(int(os.environ["TIMES"]))
state.set(1)
"""


def test_what_ended_processes_counted_stays_and_their_state_goes(tmp_path):
    environment = {**os.environ, "HEADRACE_HOME": str(tmp_path), "SECRET_KEY": "x"}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    for times in (1, 2, 3):
        subprocess.run(
            [sys.executable, "-c", COUNT], cwd=ROOT, env={**environment, "TIMES": str(times)}, check=True
        )
        folder = tmp_path / "metrics"
        with process_files.combined(folder):
            process_files.merge_ended_processes(folder)
        assert [path.name for path in folder.glob("*.db")] == ["counter_0.db"]
    (family,) = MultiProcessCollector(None, str(folder)).collect()
    assert [sample.value for sample in family.samples if sample.name == "counted_total"] == [6.0]


def test_processes_that_nobody_asks_leave_no_more_files_than_live(tmp_path):
    environment = {**os.environ, "HEADRACE_HOME": str(tmp_path), "SECRET_KEY": "x", "TIMES": "1"}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    count = f"{COUNT}\nimport config.observability.metrics.counters"
    for _ in range(4):
        subprocess.run([sys.executable, "-c", count], cwd=ROOT, env=environment, check=True)
    ended = {path.stem.rpartition("_")[2] for path in (tmp_path / "metrics").glob("*.db")}
    assert len(ended - {process_files.ENDED}) == 1  # the last one's


def test_a_full_disk_costs_the_figures_and_not_the_process(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(process_files, "_allocate", full)
    opened = process_files._opened(str(tmp_path / "counter_1.db"))
    opened.write_value("a", 1.0, 0.0)
    assert opened.read_value("a") == (0.0, 0.0)
    assert list(tmp_path.iterdir()) == []
    assert "No space left" in caplog.text


def test_a_folder_that_cannot_be_written_costs_the_figures_and_not_the_process(tmp_path):
    (tmp_path / "metrics").write_text("a file")
    environment = {**os.environ, "HEADRACE_HOME": str(tmp_path), "SECRET_KEY": "x", "TIMES": "1"}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    subprocess.run([sys.executable, "-c", COUNT], cwd=ROOT, env=environment, check=True)


def test_names_are_of_one_family():
    registry = [*process_files.REGISTRY.collect()]
    names = [family.name for family in registry] + list(database_metrics.database_gauges())
    assert all(name.startswith("headrace_") for name in names)
    assert len(names) == len(set(names))
    assert isinstance(event_metrics.EVENTS, Counter)


@pytest.mark.django_db(transaction=True)
def test_the_health_of_all_is_a_line_and_an_exit_status(capsys):
    with pytest.raises(CommandError, match="heartbeat: none yet"):
        call_command("check_health")
    record_heartbeat()
    call_command("check_health")
    assert capsys.readouterr().out == "ok\n"
    Heartbeat.objects.update(beaten_at=clock.now() - timedelta(seconds=130))
    with pytest.raises(CommandError, match=r"heartbeat: 1\d\d s old"):
        call_command("check_health")
    call_command("check_health", heartbeat_seconds=600.0)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'sessions' RETURNING app, name, applied")
        row = cursor.fetchone()
    try:
        with pytest.raises(CommandError, match="migrations: 1 unapplied"):
            call_command("check_health")
    finally:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES (%s, %s, %s)", row)


@pytest.mark.usefixtures("no_database")
def test_what_the_documents_name_exists_and_each_figure_is_named():
    text = (ROOT / "docs/alerts.md").read_text()
    named = {re.sub("_(total|bucket|count|sum)$", "", name) for name in re.findall(r"headrace_\w+", text)}
    told = {family.name for family in views._Everything().collect()} | set(database_metrics.database_gauges())
    assert "headrace_effects_lag_seconds" in named
    assert named <= told
    assert told - named <= {"headrace_process_started_timestamp_seconds"}
