"""Each kind of work has its limits, whoever connects."""

import os
import subprocess
import sys
import time

import pytest
from django.db import OperationalError, connection

from config.db.backend.connection import DatabaseTimeout
from config.db.timeouts import Timeouts, timeouts_from_environment
from config.runtime import broker
from tests.config.test_settings import ROOT

NAMES = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")


def limits_of(wrapper):
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in NAMES))
        return cursor.fetchone()


@pytest.fixture
def bounded(settings):
    """Give each kind of work a limit of its own."""
    settings.TIMEOUTS = {
        work: Timeouts(5, 10 + place, 20 + place, 30 + place) for place, work in enumerate(settings.TIMEOUTS)
    }
    return settings.TIMEOUTS


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("work", ["web", "ingest", "effects", "background", "command"])
def test_a_connection_has_the_limits_of_its_work(bounded, work):
    wrapper = connection.copy()
    wrapper.work = work
    try:
        limits = bounded[work]
        assert limits_of(wrapper) == (
            f"{limits.lock_seconds}s",
            f"{limits.statement_seconds}s",
            f"{limits.idle_transaction_seconds}s",
        )
        # They are what a transaction that had others returns to.
        with wrapper.cursor() as cursor:
            cursor.execute("SET lock_timeout = 1")
            cursor.execute("SET lock_timeout TO DEFAULT")
        assert limits_of(wrapper)[0] == f"{limits.lock_seconds}s"
        assert wrapper.connection.silence_seconds == limits.statement_seconds + 5
        assert wrapper.get_connection_params()["connect_timeout"] == 5
    finally:
        wrapper.close()


@pytest.mark.django_db(transaction=True)
def test_no_limit_is_none(settings):
    settings.TIMEOUTS = {**settings.TIMEOUTS, "command": Timeouts(0, 0, 0, 0)}
    wrapper = connection.copy()
    # The process's own kind of work may be another one by now: that of a worker, say.
    wrapper.work = "command"
    try:
        assert limits_of(wrapper) == ("0", "0", "0")
        assert wrapper.connection.silence_seconds is None
    finally:
        wrapper.close()


def test_each_is_read_from_the_environment(monkeypatch):
    ingest_lock_seconds = timeouts_from_environment()["ingest"].lock_seconds
    monkeypatch.setenv("WEB_LOCK_TIMEOUT_SECONDS", "1.5")
    monkeypatch.setenv("COMMAND_STATEMENT_TIMEOUT_SECONDS", "7")
    monkeypatch.setenv("SILENCE_GRACE_SECONDS", "2")
    limits = timeouts_from_environment()
    assert limits["web"].lock_seconds == 1.5
    assert limits["command"].silence_seconds == 9
    assert limits["ingest"].lock_seconds == ingest_lock_seconds


def test_a_lock_is_waited_for_less_long_than_a_statement_may_take(monkeypatch):
    """The server tells who waited in vain for both of the statement, and nobody would know of the lock."""
    defaults = timeouts_from_environment()
    monkeypatch.setenv("WEB_LOCK_TIMEOUT_SECONDS", "60")
    monkeypatch.setenv("INGEST_LOCK_TIMEOUT_SECONDS", "0")
    monkeypatch.setenv("COMMAND_LOCK_TIMEOUT_SECONDS", "0")
    limits = timeouts_from_environment()
    assert limits["web"].lock_seconds == 13.5
    assert limits["ingest"].lock_seconds == 9
    assert limits["command"].lock_seconds == 0
    for limit in defaults.values():
        assert not limit.statement_seconds or limit.lock_seconds < limit.statement_seconds


@pytest.mark.parametrize(
    ("begin", "environment", "work"),
    [
        ("", {"HEADRACE_WEB": "1"}, "web"),
        ("", {}, "command"),
        (
            "from celery.signals import celeryd_init; import config.celery; celeryd_init.send(None)",
            {},
            "background",
        ),
        (
            "from config.runtime.beat import *; s = object.__new__(Scheduler); s.app = app; s.setup_schedule()",
            {},
            "effects",
        ),
    ],
    ids=["web", "command", "worker", "beat"],
)
def test_each_process_has_its_work(begin, environment, work):
    script = f"""
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
import django
django.setup()
{begin}
from django.db import connections
print(connections.settings["default"]["WORK"])
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == work, done.stderr


@pytest.mark.django_db(transaction=True)
def test_who_asks_a_server_that_stays_silent_is_told_in_time():
    wrapper = connection.copy()
    try:
        wrapper.ensure_connection()
        wrapper.connection.silence_seconds = 0.3
        began = time.monotonic()
        with (
            pytest.raises(OperationalError, match=r"did not answer in 0\.3 s") as told,
            wrapper.cursor() as cursor,
        ):
            cursor.execute("SELECT pg_sleep(20)")
        assert isinstance(told.value.__cause__, DatabaseTimeout)
        assert time.monotonic() - began < 5
        wrapper.close_if_unusable_or_obsolete()
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        wrapper.close()


@pytest.mark.django_db(transaction=True)
def test_a_line_that_only_listens_is_not_ended(settings):
    settings.TIMEOUTS = {**settings.TIMEOUTS, "effects": Timeouts(5, 0.2, 0.2, 0.2, grace_seconds=0.1)}
    line = broker.connect()
    try:
        line.execute("LISTEN something")
        time.sleep(1.0)
        line.execute("NOTIFY something")
        assert len(list(line.notifies(timeout=5, stop_after=1))) == 1
    finally:
        line.close()
