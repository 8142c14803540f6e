"""What may befall a running Headrace while tenants send, score, segment and write e-mails: nothing is lost.

Each scenario is one line of a table that `make proof` prints. What is acknowledged is stored once and has each of its
effects once, and in the end nothing is stuck. Whom a fault does not concern hardly feels it.
"""

import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import psutil
import psycopg
import pytest

from tests.campaigns.messages import MailServer
from tests.config.runtime.test_supervisor import wait_for
from tests.homes import prepare_home
from tests.proof import clocks
from tests.proof.system import System, find_victim, lives
from tests.proof.traffic import Fault, Traffic
from tests.scale import IS_WHOLE

pytestmark = pytest.mark.slow
VICTIMS = ("web", "worker", "beat", "postmaster", "worker", "backend", "granian")
BETWEEN = 100 if IS_WHOLE else 40
"""Events that are acknowledged between one kill and the next."""
LOCK_SECONDS = 30.0
SILENT_SECONDS = 20.0
FULL_SECONDS = 15.0
READ_ONLY_SECONDS = 15.0
CROWDED_SECONDS = 15.0
SLOW_ANSWER_SECONDS = 3.0
JUMP_SECONDS = 5 * 3600
JUMPED_SECONDS = 10.0
DISK_BYTES = 700 * 2**20
CHUNK_BYTES = 64 * 2**10
IDLE_SECONDS = 10.0 if IS_WHOLE else 0.5
MOST_SLOWDOWN = 2.0
MOST_SECONDS = 1.0
"""At most so long take sends beside a fault of somebody else's, however busy the machine is: a fault takes 30."""


def storm(system: System, _: Traffic, fault: Fault) -> None:
    """Kill each kind of process again and again."""
    victims = [*VICTIMS, *random.sample(VICTIMS, len(VICTIMS))] * 2 if IS_WHOLE else VICTIMS
    for name in victims:
        fault.traffic.wait_for_more(BETWEEN)
        with suppress(psutil.NoSuchProcess):  # it ended by itself, as a backend may
            victim = find_victim(system, name)
            victim.kill()
            wait_for(lambda victim=victim: not lives(victim), 10)
    fault.traffic.wait_for_more(BETWEEN)
    system.postmaster().send_signal(signal.SIGINT)  # as `pg_ctl restart --mode=fast` stops it


def lock(table: str) -> Callable[[System, Traffic, Fault], None]:
    """Have somebody's transaction hold a whole table, as a careless migration does."""

    def hold(system: System, *_: object) -> None:
        with system.connect() as connection:
            connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")  # type: ignore[arg-type]
            time.sleep(LOCK_SECONDS)

    return hold


def lock_tenant(system: System, traffic: Traffic, fault: Fault) -> None:
    """Have somebody's transaction hold all that one tenant's writes need, and more of its clients come than usual."""
    tenant = traffic.tenants[0]
    fault.concerned = [tenant]
    with traffic.crowd(tenant, 24), system.connect() as connection:
        for table, column in _ROWS_OF_TENANT.items():
            connection.execute(f"SELECT FROM {table} WHERE {column} = %s FOR UPDATE", [tenant.id])  # type: ignore[arg-type]
        time.sleep(LOCK_SECONDS)


_ROWS_OF_TENANT = {
    "workspaces_workspace": "id",
    "contacts_contact": "workspace_id",
    "contacts_identifier": "workspace_id",
    "contacts_contactscore": "workspace_id",
    "events_eventdefinition": "workspace_id",
    "events_rulesversion": "workspace_id",
}


def answer_slowly(_: System, __: Traffic, fault: Fault) -> None:
    """Have the mail server take its time."""
    assert fault.mail is not None
    fault.concerned = []
    fault.mail.mailbox.answer_seconds = SLOW_ANSWER_SECONDS
    time.sleep(LOCK_SECONDS)
    fault.mail.mailbox.answer_seconds = 0.0


def fall_silent(system: System, *_: object) -> None:
    """Freeze every process of the database, as a machine that hangs does: connections stand, and nothing answers."""
    postmaster = system.postmaster()
    frozen = [postmaster, *postmaster.children(recursive=True)]
    for process in frozen:
        with suppress(psutil.NoSuchProcess):
            process.suspend()
    time.sleep(SILENT_SECONDS)
    for process in reversed(frozen):
        with suppress(psutil.NoSuchProcess):
            process.resume()


def fill_disk(system: System, *_: object) -> None:
    """Have somebody else's file take what is left of the database's disk, for a while."""
    filler = system.home / "filler"
    until = time.monotonic() + FULL_SECONDS
    with filler.open("wb", buffering=0) as file:
        while time.monotonic() < until:
            with suppress(OSError):
                while file.write(bytes(CHUNK_BYTES)) == CHUNK_BYTES:
                    pass
            time.sleep(0.05)
    filler.unlink()


def read_only(system: System, *_: object) -> None:
    """Have the database refuse writes, at first over the connections that stand, then also over new ones.

    So does one that is no longer the primary, or behind an address that leads to a standby.
    """
    with system.connect() as connection:
        connection.autocommit = True
        connection.execute("SET default_transaction_read_only = off")
        for statement in ("ALTER SYSTEM SET default_transaction_read_only = on", _RELOAD):
            connection.execute(statement)
        time.sleep(READ_ONLY_SECONDS / 2)
        connection.execute(_END_CONNECTIONS)
        time.sleep(READ_ONLY_SECONDS / 2)
        for statement in ("ALTER SYSTEM RESET default_transaction_read_only", _RELOAD):
            connection.execute(statement)


def crowd_out(system: System, *_: object) -> None:
    """Have others take every connection that the database has."""
    deadline = time.monotonic() + CROWDED_SECONDS
    with ExitStack() as stack:
        ending = stack.enter_context(system.connect())
        ending.autocommit = True
        while time.monotonic() < deadline:
            try:
                stack.enter_context(system.connect())
            except psycopg.OperationalError:
                ending.execute(
                    f"{_END_CONNECTIONS} AND application_name = '' AND backend_start < now() - interval '1 s'"
                    " AND pid NOT IN (SELECT pid FROM pg_stat_activity WHERE query = '')"
                )
                time.sleep(0.2)


_RELOAD = "SELECT pg_reload_conf()"
_END_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def jump_clock(system: System, *_: object) -> None:
    """Have the clock of every process go hours ahead, later hours back, and then be right."""
    for seconds in (JUMP_SECONDS, -JUMP_SECONDS, 0):
        clocks.set_ahead(system.home, seconds)
        time.sleep(JUMPED_SECONDS if seconds else 0)


SCENARIOS = {
    "kills, SMTP": storm,
    "kills, local inbox": storm,
    "a lock on the stream for 30 s": lock("events_event"),
    "a lock on the scores for 30 s": lock("scoring_scoreentry"),
    "a lock on the messages for 30 s": lock("campaigns_message"),
    "a lock on one tenant's rows for 30 s": lock_tenant,
    "a slow mail server": answer_slowly,
    "a silent database for 20 s": fall_silent,
    "a full disk for 15 s": fill_disk,
    "a read-only database for 15 s": read_only,
    "no connection free for 15 s": crowd_out,
    "a clock 5 h ahead, then 5 h behind": jump_clock,
}
# What sends do not wait for; and the table that they do is everybody's.
CONCERNS_NOBODY = {"a lock on the scores for 30 s", "a lock on the messages for 30 s"}


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


@contextmanager
def running(scenario: str, home: Path, mail: MailServer | None) -> Iterator[System]:
    """Run Headrace as a scenario needs it."""
    settings = {"DELIVERY_CLAIM_SECONDS": "5"}  # what a killed worker had in hand is settled soon
    if mail is not None:
        settings["EMAIL_URL"] = f"smtp://127.0.0.1:{mail.port}"
    with ExitStack() as stack:
        if SCENARIOS[scenario] is fill_disk:
            home = home.parent / "disk" / "home"
            stack.enter_context(small_disk(home))
        if SCENARIOS[scenario] is jump_clock:
            settings |= clocks.settings_for(home, 0)
        system = System(home, **settings)
        try:
            yield system
        finally:
            if system.process.poll() is None:
                system.stop(signal.SIGKILL)
            wait_for(lambda: not system.remains(), 30)


@contextmanager
def small_disk(home: Path) -> Iterator[None]:
    """Put a home on a disk of its own. Skips where this user may not mount one."""
    disk = home.parent
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk of its own can be mounted here: {done.stderr.strip()}")
    try:
        prepare_home(home)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.parametrize("scenario", list(SCENARIOS) if IS_WHOLE else ["kills, SMTP"])
def test_what_is_acknowledged_is_stored_and_has_its_effects_once(
    scenario: str, tmp_path: Path, mail: MailServer, request: pytest.FixtureRequest
) -> None:
    receiver = None if scenario == "kills, local inbox" else mail
    with running(scenario, tmp_path / "home", receiver) as system:
        # Rules are for what happens from their making on.
        before = -2 * JUMP_SECONDS if SCENARIOS[scenario] is jump_clock else 0
        with Traffic(system, **clocks.settings_for(tmp_path / "tenants", before)) as traffic:
            concerned = [] if scenario in CONCERNS_NOBODY else None
            fault = Fault(scenario, traffic, receiver, concerned, IDLE_SECONDS)
            with fault.happening():
                SCENARIOS[scenario](system, traffic, fault)
            fault.wait_until_recovered()
        if SCENARIOS[scenario] is jump_clock:
            # A wait that began by a clock that was ahead ends when the right one comes to that moment, and no later.
            clocks.set_ahead(system.home, JUMP_SECONDS + 60)
        outcome = fault.reckon(system)
        request.node.user_properties.append(("outage", asdict(outcome)))
        assert (outcome.lost, outcome.twice, outcome.stuck) == (0, 0, 0), (outcome, fault.differences)
        assert outcome.acknowledged == outcome.stored
        assert outcome.effects == outcome.expected
        assert not traffic.faults(), traffic.faults()[:3]
        if not outcome.concerns_all:
            assert outcome.slowdown < MOST_SLOWDOWN or outcome.p95_seconds < MOST_SECONDS, outcome
        if SCENARIOS[scenario] is storm:
            assert traffic.retries() > 0
            # Of what a killed worker had in hand nobody knows whether it left.
            assert outcome.settled <= 20 * VICTIMS.count("worker") * (4 if IS_WHOLE else 1)
