"""One slow thing does not stop the others: real locks, a silent and a restarted database, over a real web process."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.config.http.test_wsgi import begin_login
from tests.config.runtime.test_supervisor import wait_for
from tests.scale import IS_WHOLE
from tests.webs import Database, Tenant, Traffic, Web, a_database, demo_of, many

pytestmark = pytest.mark.slow

WEB_THREADS = 4
SERVER_THREADS = 32
LOCK_SECONDS = 1.5
WAIT_SECONDS = 2.0
STATEMENT_SECONDS = 2.0
GRACE_SECONDS = 1.0
BODY_SECONDS = 60
SOON_SECONDS = 8
"""On a machine that others keep busy, too."""
HELD_SECONDS = 30 if IS_WHOLE else 0.5
"""For which a table is locked while the others are tried."""
RESTARTS = 5 if IS_WHOLE else 1
RULES = "/api/workspaces/{workspace}/scoring-rules"
CONTACTS = "/api/workspaces/{workspace}/contacts"
PROBES = ("/livez", "/api/health", "/readyz")


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Iterator[Database]:
    database = a_database(tmp_path_factory.mktemp("slots") / "home")
    yield database
    database.server.leave()


@pytest.fixture(scope="module")
def web(database) -> Iterator[Web]:
    web = Web(
        database.home,
        WEB_THREADS=str(WEB_THREADS),
        GRANIAN_BLOCKING_THREADS=str(SERVER_THREADS),
        WEB_LOCK_TIMEOUT_SECONDS=str(LOCK_SECONDS),
        INGEST_LOCK_TIMEOUT_SECONDS=str(LOCK_SECONDS),
        WEB_STATEMENT_TIMEOUT_SECONDS=str(STATEMENT_SECONDS),
        INGEST_STATEMENT_TIMEOUT_SECONDS=str(STATEMENT_SECONDS),
        WEB_CONNECT_TIMEOUT_SECONDS="2",
        INGEST_CONNECT_TIMEOUT_SECONDS="2",
        WEB_WAIT_SECONDS=str(WAIT_SECONDS),
        GROUP_COMMIT_WAIT_SECONDS="3",
        BODY_TIMEOUT_SECONDS=str(BODY_SECONDS),
        SILENCE_GRACE_SECONDS=str(GRACE_SECONDS),
    )
    yield web
    web.stop()


@pytest.fixture(scope="module")
def ada(database) -> Tenant:
    return demo_of(database.home)


@pytest.fixture(scope="module")
def bob(database) -> Tenant:
    return database.tenant("Bob")


def test_a_locked_table_of_one_tenant_s_route_stops_no_other(web, database, ada, bob):
    """More requests wait for the lock than there are connections, and threads to wait in."""
    with many(2 * SERVER_THREADS) as pool, database.lock("scoring_scoringrule"):
        stuck = [pool.submit(web.get, RULES, ada) for _ in range(2 * SERVER_THREADS - 8)]
        time.sleep(LOCK_SECONDS / 2)
        until = time.monotonic() + HELD_SECONDS
        while True:
            others = [web.get(path) for path in PROBES]
            others += [web.get(CONTACTS, bob), web.send(bob), web.send(ada), web.get(CONTACTS, bob)]
            assert [one.status for one in others] == [200, 200, 200, 200, 202, 202, 200]
            assert max(one.seconds for one in others) < SOON_SECONDS
            if time.monotonic() > until:
                break
            stuck += [pool.submit(web.get, RULES, ada) for _ in range(WEB_THREADS)]
    refused = [one.result() for one in stuck]
    # Those whose turn came after the lock was let go may have been answered.
    assert {one.status for one in refused} <= {200, 503}
    for one in refused:
        if one.status == 503:
            assert int(one.headers["Retry-After"]) > 0
            assert one.json["error"]
    assert max(one.seconds for one in refused) < LOCK_SECONDS + WAIT_SECONDS + SOON_SECONDS


def test_a_tenant_whose_events_are_stuck_keeps_no_other_s_from_being_recorded(web, database, ada, bob):
    assert web.send(ada, "stuck@example.test").status == 202
    with database.connect() as connection, connection.transaction(), many(2 * SERVER_THREADS) as pool:
        connection.execute("SELECT FROM contacts_contact WHERE workspace_id = %s FOR UPDATE", [ada.workspace])
        body = {"eventName": "x", "contact": {"email": "stuck@example.test", "firstName": "S"}}
        stuck = [pool.submit(web.post, "/v4/track", ada, body) for _ in range(SERVER_THREADS)]
        time.sleep(LOCK_SECONDS / 2)
        others = [web.send(bob) for _ in range(3)] + [web.get("/livez")]
        refused = [one.result() for one in stuck]
    assert [one.status for one in others] == [202, 202, 202, 200]
    assert {one.status for one in refused} == {503}


def test_a_silent_database_is_told_in_time_and_used_again_when_it_speaks(web, database, ada):
    assert web.get(CONTACTS, ada).status == 200
    with many(SERVER_THREADS) as pool, database.silence():
        waiting = [pool.submit(web.get, CONTACTS, ada) for _ in range(6)]
        waiting += [pool.submit(web.send, ada) for _ in range(6)]
        alive = web.get("/livez")
        # What it said a second ago it says again.
        wait_for(lambda: web.get("/readyz").status == 503, SOON_SECONDS)
        ready = web.get("/readyz")
        answers = [one.result() for one in waiting]
    assert alive.status == 200
    assert ready.status == 503
    assert ready.json["checks"]["database"] != "ok"
    assert {answer.status for answer in answers} == {503}
    assert max(answer.seconds for answer in answers) < 6 * (STATEMENT_SECONDS + GRACE_SECONDS) + SOON_SECONDS
    assert web.get(CONTACTS, ada).status == 200
    assert web.send(ada).status == 202


def test_a_restart_under_traffic_fails_no_read_and_no_write_but_what_was_being_committed(
    web, database, ada, bob
):
    requests = [lambda: web.get(CONTACTS, ada), lambda: web.get(RULES, bob)] * 2
    requests += [lambda: web.send(ada), lambda: web.send(bob)]
    with Traffic(*requests) as traffic:
        for _ in range(RESTARTS):
            time.sleep(0.5)
            database.restart()
            time.sleep(1.0)
    assert len(traffic.answers) > len(requests)
    failed = [answer for answer in traffic.answers if answer.status not in (200, 202)]
    # Of a write whose commit was under way nobody can say whether it is stored; each sender has one at a time.
    writes = [one for one in failed if one.status == 503 and "title" in one.json]
    assert [one for one in failed if one not in writes] == []
    assert len(writes) <= 2 * RESTARTS


def test_more_slow_bodies_than_threads_stop_others_for_a_moment_only(web, ada):
    with ExitStack() as stack:
        for _ in range(2 * SERVER_THREADS):
            stack.enter_context(begin_login(web.port, "Content-Length: 9"))
        began = time.monotonic()
        # Those that are too many are ended once they have proved to be slow, long before their time is over.
        while (status := web.send(ada).status) == 503 and time.monotonic() - began < BODY_SECONDS:
            assert [web.get(path).status for path in PROBES] == [200, 200, 200]
        assert status == 202
        assert time.monotonic() - began < BODY_SECONDS / 2
        assert web.get(CONTACTS, ada).status == 200


def test_a_client_that_is_gone_before_its_body_came_holds_nothing(web):
    for _ in range(2 * SERVER_THREADS):
        begin_login(web.port, "Content-Length: 9").close()
    wait_for(lambda: web.get("/docs").status == 200, SOON_SECONDS)


def test_so_many_requests_at_once_that_no_thread_is_left_are_refused_in_their_format(web, database, ada):
    with many(3 * SERVER_THREADS) as pool, database.lock("contacts_contact, scoring_scoringrule"):
        paths = [RULES, CONTACTS, "/suresend/api/partner/people", "/admin/login/"]
        waiting = [pool.submit(web.get, paths[place % 4], ada) for place in range(3 * SERVER_THREADS)]
        alive = [web.get(path).status for path in PROBES]
        answers = [one.result() for one in waiting]
    assert alive == [200, 200, 200]
    assert {answer.status for answer in answers} <= {200, 404, 503}
    for one in answers:
        if one.status == 503:
            assert int(one.headers["Retry-After"]) > 0
            assert one.body


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_a_503_and_told_by_readiness(tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        home = disk / "home"
        database = a_database(home)
        tenant = demo_of(home)
        web = Web(home)
        try:
            assert web.send(tenant).status == 202
            fill(disk)
            answers = [
                web.post("/v4/track", tenant, {"eventName": f"e{place}", "properties": {"x": "y" * 4000}})
                for place in range(60)
            ]
            answers += [web.post(CONTACTS, tenant, {"email": f"{place}@example.test"}) for place in range(60)]
            # What it said a second ago it says again.
            wait_for(lambda: web.get("/readyz").status == 503, SOON_SECONDS)
            ready = web.get("/readyz")
            assert web.get(CONTACTS, tenant).status == 200
            (disk / "ballast").unlink()
            wait_for(lambda: web.get("/readyz").status == 200, 30)
            assert web.send(tenant).status == 202
        finally:
            web.stop()
            database.server.leave()
            assert database.server.wait_until_stopped(30)
    assert {answer.status for answer in answers} <= {201, 202, 400, 503}
    refused = [answer for answer in answers if answer.status == 503]
    assert refused
    assert all(int(one.headers["Retry-After"]) > 0 for one in refused)
    assert (ready.status, ready.json["checks"]["database"]) == (503, "no space")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Yield a file system with room for a database and little more."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "tmpfs", folder], check=False)
    if done.returncode:
        pytest.skip("nothing can be mounted")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(disk: Path) -> None:
    """Leave no room."""
    with (disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(b"\0" * 65536)
