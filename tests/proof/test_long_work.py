"""Rehearsals keep nothing else waiting, however many are ordered, and go on after their worker was killed."""

import csv
import json
import signal
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import Client, System, manage
from tests.scale import scaled

pytestmark = pytest.mark.slow
LONG_WORKER = "--queues=headrace-long"
EVENTS = scaled(300, 60)
REHEARSALS = 4
STATUSES = "SELECT status, attempts FROM campaigns_rehearsal ORDER BY id"


def write_history(path: Path) -> tuple[datetime, datetime]:
    since = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
    with path.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["event", "timestamp", "email"])
        for place in range(EVENTS):
            at = since + timedelta(minutes=place)
            rows.writerow(["signup", at.isoformat(), f"h{place % 50}@example.test"])
    return since, since + timedelta(minutes=EVENTS)


def test_effects_go_at_once_beside_rehearsals_and_a_killed_one_is_begun_again(tmp_path: Path) -> None:
    history = tmp_path / "history.csv"
    since, until = write_history(history)
    # One ordinary worker: if it rehearsed, effects would wait for minutes.
    system = System(tmp_path / "home")
    try:
        contacts = system.prepare(3)
        manage(system, "import_events", str(history), "--workspace", system.workspace, "--effects=none")
        with closing(Client(system)) as client:
            campaign = client.post(
                "campaigns",
                {
                    "name": "Long",
                    "type": "AUTOMATED",
                    "reentry": {"mode": "every"},
                    "triggers": [{"type": "EVENT", "eventType": "signup"}],
                    "workflow": {
                        "edges": [],
                        "nodes": [{"id": "w", "type": "wait", "data": {"duration": "1h"}}],
                    },
                },
            )
            period = {"from": since.isoformat(), "to": until.isoformat()}
            for _ in range(REHEARSALS):
                client.post(f"campaigns/{campaign['id']}/rehearsals", period)
            wait_for(lambda: ("RUNNING", 1) in system.rows(STATUSES), 30)
            delays = []
            for place in range(10):
                client.post("events", {"type": "purchase", "contactId": contacts[place % 3]})
                began = time.monotonic()
                system.wait_for_effects(10)
                delays.append(time.monotonic() - began)
            assert {status for status, _ in system.rows(STATUSES)} >= {"QUEUED"}
            assert sorted(delays)[5] < 2, delays
            system.child(LONG_WORKER).send_signal(signal.SIGKILL)
            ((running,),) = system.rows("SELECT id FROM campaigns_rehearsal WHERE status = 'RUNNING'")
            with system.connect() as connection:
                # As if its silence had lasted.
                connection.execute("UPDATE campaigns_rehearsal SET active_at = active_at - interval '1 hour'")
        wait_for(lambda: {status for status, _ in system.rows(STATUSES)} == {"DONE"}, 240)
        assert ("DONE", 2) in system.rows(STATUSES)
        ((report,),) = system.rows(f"SELECT report::text FROM campaigns_rehearsal WHERE id = '{running}'")
        entered = json.loads(report)["versions"][0]["entered"]
        counts = system.rows("SELECT count(*) FROM campaigns_rehearsedenrollment GROUP BY rehearsal_id")
        assert counts == [(EVENTS,)] * REHEARSALS
        assert entered == EVENTS
    finally:
        system.stop(signal.SIGINT)
