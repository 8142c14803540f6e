"""Exports of persons: the same JSON as ever, in memory that does not grow with it, and slow readers hold no more."""

import gc
import http.client
import json
import socket
import tracemalloc
from contextlib import closing
from threading import BoundedSemaphore

import psutil
import pytest
from django.test import Client as Browser

from config.http import spooled_responses
from config.http.rendering import dumps
from contacts.erasure import erasures
from contacts.erasure.erasures import ExportedRows, write_export
from events.models import Event
from tests.config.runtime.test_supervisor import command_of, wait_for
from tests.contacts.factories import a_contact
from tests.native import NativeClient
from tests.proof.system import System
from tests.scale import IS_WHOLE, scaled
from tests.workspaces.factories import WorkspaceFactory, a_key, bearer

TEXT = "x" * 400


@pytest.fixture
def workspace(db):
    return WorkspaceFactory()


def person(workspace, events, email="jane@example.test"):
    """Return a contact with so many events, of some 600 bytes each as JSON."""
    contact = a_contact(workspace, email, first_name="Jane", tags=("vip",))
    for start in range(0, events, 2_000):
        Event.objects.bulk_create(
            Event(name="seen", workspace=workspace, contact=contact, properties={"n": n, "text": TEXT})
            for n in range(start, min(start + 2_000, events))
        )
    return contact


def streamed(workspace, contact):
    return Browser().get(
        f"/api/workspaces/{workspace.id}/contacts/{contact.id}/export", **bearer(a_key(workspace).secret)
    )


def test_a_large_export_is_the_same_json_streamed(workspace):
    jane = person(workspace, 2_500)
    rows = erasures._identifiers_known_of(workspace.id, jane)
    known = {name: list(value) if isinstance(value, ExportedRows) else value for name, value in rows.items()}

    answer = streamed(workspace, jane)

    assert (answer.status_code, answer.streaming, answer["Content-Type"]) == (200, True, "application/json")
    parts = list(answer.streaming_content)
    body = b"".join(parts)
    assert len(body) == int(answer["Content-Length"]) > spooled_responses.WHOLE_BYTES
    assert max(map(len, parts)) <= 1 << 16
    told = json.loads(body)
    known["exportedAt"] = told["exportedAt"]
    assert told == json.loads(dumps(known))
    assert list(told) == list(known)
    assert len(told["events"]) == 2_502  # and that it was created and tagged


def test_a_small_one_is_whole_and_a_person_with_nothing_has_empty_lists(workspace):
    jane = a_contact(workspace, "jane@example.test")
    answer = NativeClient(workspace).get(f"contacts/{jane.id}/export")
    assert not answer.streaming
    assert (answer.json()["messages"], answer.json()["suppressions"]) == ([], [])
    assert NativeClient(workspace).get("contacts/x/export").status_code == 404


def test_the_memory_does_not_grow_with_the_person(workspace):
    few, many = (
        person(workspace, count, f"{count}@example.test") for count in (2_000, scaled(10_000, 100_000))
    )
    peaks, sizes = [], []
    for contact in (few, few, many):
        size = 0

        def count(part):
            nonlocal size
            size += len(part)

        gc.collect()
        tracemalloc.start()
        write_export(workspace.id, contact, count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        sizes.append(size)
    assert sizes[2] > 4 * sizes[1]
    assert peaks[2] < 1.3 * peaks[1] + 200_000, (peaks, sizes)
    assert peaks[2] < sizes[2] / 2


def test_too_many_at_once_are_told_to_come_again(workspace, monkeypatch):
    jane = person(workspace, 1)
    monkeypatch.setattr(spooled_responses, "_slots", BoundedSemaphore(1))
    with spooled_responses._slots:
        refused = streamed(workspace, jane)
    assert (refused.status_code, "Retry-After" in refused) == (503, True)
    assert streamed(workspace, jane).status_code == 200


FEW = 10_000
EVENTS = 100_000 if IS_WHOLE else 20_000
SLOTS = 3


@pytest.mark.slow
def test_a_real_process_streams_it_in_bounded_memory_and_slow_readers_hold_no_database(tmp_path):
    system = System(tmp_path / "home", WEB_THREADS="2", SPOOLED_ANSWERS=str(SLOTS), WEB_REQUEST_SECONDS="120")
    try:
        contact, other = system.prepare(2)
        fill(system, contact, EVENTS)
        fill(system, other, FEW)
        path = f"/api/workspaces/{system.workspace}/contacts/{contact}/export"
        headers = {"Authorization": f"Bearer {system.key}"}
        web = web_processes(system)
        before = sum(one.memory_info().rss for one in web)

        with closing(http.client.HTTPConnection("127.0.0.1", system.port, timeout=120)) as connection:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            assert answer.status == 200
            size, largest = 0, before
            while part := answer.read(1 << 20):
                size += len(part)
                largest = max(largest, sum(one.memory_info().rss for one in web))
        assert size == int(answer.headers["Content-Length"]) > EVENTS * 400
        assert largest - before < max(25_000_000, size / 3), (before, largest, size)

        # More slow readers than there are connections: the database is nobody's, and they are bounded.
        path = f"/api/workspaces/{system.workspace}/contacts/{other}/export"
        slow = [begin(system, path) for _ in range(4 * SLOTS)]
        told = [int(one.recv(12, socket.MSG_WAITALL).split()[1]) for one in slow]
        assert SLOTS <= told.count(200) <= SLOTS * len(web)
        assert set(told) == {200, 503}
        for _ in range(5):
            assert get(system, f"/api/workspaces/{system.workspace}/contacts/{contact}") == 200
        for one in slow:
            one.close()
        wait_for(lambda: all(get(system, path) == 200 for _ in range(4)), 60)
    finally:
        system.stop()


def fill(system, contact, events):
    with system.connect() as connection:
        row = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'events_event'"
        ).fetchall()
        columns = [name for (name,) in row if name not in ("id", "properties", "contact_id")]
        names = ", ".join(columns)
        connection.execute(
            f"INSERT INTO events_event (id, properties, contact_id, {names})"
            f" SELECT uuidv7(), jsonb_build_object('n', n, 'text', repeat('x', 400)), %s::uuid, {names}"
            f" FROM (SELECT * FROM events_event ORDER BY id DESC LIMIT 1) one, generate_series(1, {events}) n",
            [contact],
        )


def web_processes(system):
    children = psutil.Process(system.process.pid).children(recursive=True)
    return [one for one in children if "granian" in command_of(one)]


def begin(system, path):
    """Ask for an export and read nothing of it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", system.port))
    connection.settimeout(60)
    connection.sendall(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {system.key}\r\n\r\n".encode()
    )
    return connection


def get(system, path):
    with closing(http.client.HTTPConnection("127.0.0.1", system.port, timeout=30)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {system.key}"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
