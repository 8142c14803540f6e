"""What an operator sees of a running installation: figures and logs of all its processes."""

import json
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import Client, System

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Start one for all tests of this file."""
    home = tmp_path_factory.mktemp("operating") / "home"
    system = System(home, HEARTBEAT_SECONDS="2", LOG_FORMAT="json", ACCESS_LOG="1")
    yield system
    system.stop(signal.SIGKILL)
    wait_for(lambda: not system.remains(), 15)


def figures(system: System) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{system.port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    found = re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    return {name: float(value) for name, value in found}


def settled(system: System) -> dict[str, float]:
    """Return the figures once every process has written what it had seen, which takes it a second."""
    while True:
        before = figures(system)
        time.sleep(2.5)
        after = figures(system)
        if all(after[name] == before.get(name) for name in after if 'dialect="native"' in name):
            return after


def send(system: System, path: str, body: object, key: str = "") -> int:
    request = urllib.request.Request(
        f"http://127.0.0.1:{system.port}{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key or system.key}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_figures_of_all_processes_are_in_one_answer(system: System) -> None:
    events = f"/api/workspaces/{system.workspace}/events"
    with closing(Client(system)) as client:
        contact = client.post("contacts", {"email": "ada@example.com"})["id"]
    wait_for(lambda: 'headrace_requests_total{dialect="native",status="2xx"}' in figures(system), 20)
    before = settled(system)
    for number in range(20):
        assert send(system, events, {"type": "seen", "contactId": contact, "id": f"n{number}"}) == 201
    assert send(system, events, {"type": "", "contactId": contact}) == 400
    assert send(system, "/v1/events/send", {}, key="none") == 401
    system.wait_for_effects(30)

    def grown(name: str) -> float:
        return figures(system).get(name, 0.0) - before.get(name, 0.0)

    # Whichever of the two web processes answers.
    wait_for(lambda: grown('headrace_requests_total{dialect="native",status="2xx"}') == 20, 20)
    wait_for(lambda: grown('headrace_requests_total{dialect="native",status="4xx"}') == 1, 20)
    wait_for(lambda: grown('headrace_request_seconds_count{dialect="native"}') == 21, 20)
    assert {grown('headrace_request_seconds_count{dialect="native"}') for _ in range(5)} == {21.0}
    wait_for(lambda: grown('headrace_events_total{outcome="recorded"}') == 20, 20)
    assert grown("headrace_group_requests_count") >= 1
    wait_for(lambda: grown("headrace_group_requests_sum") == 20, 20)
    wait_for(lambda: grown('headrace_effects_applied_total{kind="event"}') >= 20, 20)
    assert grown("headrace_effects_pass_seconds_count") >= 1
    now = figures(system)
    assert now['headrace_wake_ups_total{outcome="sent",work="effects"}'] >= 1
    assert now['headrace_tasks_total{outcome="success",task="events.tasks.apply_effects"}'] >= 1
    # The one that they are forked from, and two; one worker, and that of long work; beat.
    assert [now[f'headrace_processes{{program="{name}"}}'] for name in ("web", "worker", "beat")] == [3, 2, 1]
    assert now['headrace_process_resident_bytes{program="worker"}'] > 2**24
    assert now['headrace_database_connections{program="web"}'] >= 1
    assert time.time() - now["headrace_beat_tick_timestamp_seconds"] < 60
    assert now["headrace_database_up"] == 1
    # Of one web process at least, which was asked something.
    assert now["headrace_web_connections_slots"] in {5, 10}
    assert 0 <= now["headrace_web_connections_lent"] <= 10
    grew = (name for name in now if name.startswith("headrace_requests_total") and grown(name) > 0)
    formats = {name.split('"')[1] for name in grew}
    assert len(formats - {"native", "page", "probe"}) == 1
    assert not any("pid=" in name or "workspace" in name for name in now)
    wait_for(lambda: figures(system).get("headrace_heartbeat_age_seconds", 99) < 10, 60)


def test_a_process_that_ends_takes_no_count_with_it(system: System) -> None:
    counted = 'headrace_requests_total{dialect="native",status="2xx"}'
    with closing(Client(system)) as client:
        client.post("contacts", {"email": "grace@example.com"})
    wait_for(lambda: counted in figures(system), 20)
    before = figures(system)[counted]
    victim = system.child("granian").children()[0]
    victim.kill()
    # Until the system has taken its socket away, connections that wait there are reset.
    wait_for(lambda: victim not in system.child("granian").children(), 20)
    wait_for(lambda: len(system.child("granian").children()) == 2, 20)
    wait_for(lambda: system.status("/api/health") == 200, 20)
    wait_for(lambda: figures(system)['headrace_processes{program="web"}'] == 3, 20)
    assert figures(system)[counted] >= before
    assert len(list((system.home / "metrics").glob("counter_*.db"))) <= 6


MARKER = "Marquardt"
MAIL = f"{MARKER}@example.com"


def page(system: System, path: str, body: str | None = None, **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{system.port}{path}", None if body is None else body.encode(), headers
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status), answer.headers["X-Request-Id"]
    except urllib.error.HTTPError as error:
        return error.code, error.headers["X-Request-Id"]


def lines(system: System) -> list[dict[str, object]]:
    """Return what the programs have logged."""
    found = []
    for line in system.output().splitlines():
        _, _, text = line.partition("| ")
        if text.startswith("{"):
            found.append(json.loads(text))
    return found


def test_a_request_is_known_by_its_id_in_the_log_and_in_the_tasks_that_follow(system: System) -> None:
    status, own = page(system, "/api/health")
    assert (status, bool(own)) == (200, True)
    assert page(system, "/api/health")[1] != own
    assert page(system, "/api/health", **{"X-Request-Id": "order-7.a_B"}) == (200, "order-7.a_B")
    for bad in ("a b", "a@b", "x" * 65, "\xe9"):
        assert page(system, "/api/health", **{"X-Request-Id": bad})[1] != bad
    path = f"/api/workspaces/{system.workspace}/contacts"
    assert page(system, path, **{"X-Request-Id": "refused-1"})[0] == 401
    wait_for(lambda: any(line.get("request_id") == "refused-1" for line in lines(system)), 20)
    (line,) = [line for line in lines(system) if line.get("request_id") == "refused-1"]
    assert (line["method"], line["path"], line["status"], line["dialect"]) == ("GET", path, 401, "native")
    # A task that breaks tells whose request it follows from. A runner that still polls the workspace because of an
    # earlier request would do the work in that one's name.
    leases = "SELECT count(*) FROM events_lease WHERE expires_at > now()"
    wait_for(lambda: system.rows(leases) == [(0,)], 90)
    with system.connect() as connection:
        connection.execute("ALTER TABLE events_rulesversion RENAME TO hidden")
    try:
        json_header = {"Content-Type": "application/json", "Authorization": f"Bearer {system.key}"}
        body = json.dumps({"type": "seen", "contact": {"email": MAIL}, "metadata": {"name": MARKER}})
        events = f"/api/workspaces/{system.workspace}/events"
        contact = json.dumps({"email": MAIL, "firstName": MARKER})
        assert page(system, path, contact, **json_header, **{"X-Request-Id": "first-1"})[0] == 201
        page(system, events, body, **json_header, **{"X-Request-Id": "first-2"})
        wait_for(
            lambda: any(
                line["program"] == "worker" and str(line.get("request_id", "")).startswith("first-")
                for line in lines(system)
            ),
            60,
        )
    finally:
        with system.connect() as connection:
            connection.execute("ALTER TABLE hidden RENAME TO events_rulesversion")


def test_nobody_s_data_is_in_any_log(system: System) -> None:
    space = f"/api/workspaces/{system.workspace}"
    json_header = {"Content-Type": "application/json", "Authorization": f"Bearer {system.key}"}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    contact = json.dumps({"email": MAIL, "firstName": MARKER, "phone": MARKER, "customFields": {"x": MARKER}})

    def provoke() -> None:
        for path in (
            f"{space}/contacts",
            f"{space}/events",
            "/v4/contacts",
            "/v1/events/send",
            "/api/partner/events",
        ):
            page(system, path, contact, **json_header)
            page(system, path, contact[:-3], **json_header)
            page(system, f"{path}/{MARKER}?email={MAIL}", **json_header)
            page(
                system,
                f"{path}?key={MARKER}",
                contact,
                **{**json_header, "Authorization": f"Bearer {MARKER}"},
            )
        page(
            system, f"{space}/events", json.dumps({"type": MARKER, "metadata": {"a": MARKER}}), **json_header
        )
        page(system, f"/v1/workspaces/{system.workspace}/contacts/{MAIL}/events", contact, **json_header)
        page(system, "/admin/login/", f"username={MAIL}&password={MARKER}", **form)
        page(system, "/oauth2/token", f"grant_type=password&username={MAIL}&password={MARKER}", **form)
        page(system, f"/api/forms/{MARKER}/submit", f"email={MAIL}", **form)
        page(system, f"/unsubscribe/{MARKER}")
        page(system, f"/c/{MARKER}?to=https://{MARKER}.example")
        page(system, f"/nowhere/{MAIL}?{MARKER}")
        page(system, "/api/health", Host=f"{MARKER}.example")

    provoke()
    # What PostgreSQL refuses, it quotes: a constraint with the row, a trigger with what it was told.
    hinder = """
        ALTER TABLE contacts_contact ADD CONSTRAINT never CHECK (created_at < '2000-01-01') NOT VALID;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'Refused' USING DETAIL = 'Row ' || NEW::text, ERRCODE = '23505'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON events_event FOR EACH ROW EXECUTE FUNCTION refuse();
    """
    with system.connect() as connection:
        connection.execute(hinder)
    try:
        status, _ = page(
            system, f"{space}/contacts", json.dumps({"email": f"2{MAIL}", "firstName": MARKER}), **json_header
        )
        assert status == 500
        provoke()
    finally:
        with system.connect() as connection:
            connection.execute(
                "ALTER TABLE contacts_contact DROP CONSTRAINT never; DROP FUNCTION refuse() CASCADE"
            )
    wait_for(lambda: any("exception" in line for line in lines(system)), 20)
    assert any("violates check constraint" in str(line.get("exception")) for line in lines(system))
    logs = [system.home / "output", *(system.home / "postgres").glob("log*")]
    told = {path.name: path.read_text(errors="replace") for path in logs if path.is_file()}
    assert "ready to accept connections" in told["log"]
    for name, text in told.items():
        found = [line for line in text.splitlines() if MARKER.lower() in line.lower()]
        assert not found, (name, found[:3])
