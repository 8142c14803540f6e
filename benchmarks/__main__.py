"""`make bench`: Headrace's figures, side by side in one run on one machine.

Absolute figures are this machine's; what can be compared are the ratios. Medians of `--rounds` rounds.
"""

import argparse
import contextlib
import io
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.campaigns import CampaignBench
from benchmarks.segments import SegmentBench
from benchmarks.sends import SendBench

CONTACTS = 1_000
BATCH = 1_000
CONNECTIONS = 16


def main() -> None:
    """Run every benchmark and print its figures with the goals beside them."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--only", default="", help="letters of the benchmarks to run, such as ac")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as home:
        os.environ.update(HEADRACE_HOME=home, DJANGO_SETTINGS_MODULE="benchmarks.plain.settings")
        if not options.only or "e" in options.only:
            lists(home)
        if options.only == "e":
            return
        bench = Bench(options.rounds, options.seconds)
        segments, campaigns = bench.segments(), bench.campaigns()
        for letters, measure in (
            ("d", bench.effects),
            ("s", bench.sends),
            ("cb", bench.single_sends),
            ("a", bench.batches),
            ("fg", segments.runner),
            ("h", segments.history),
            ("j", lambda: segments.visible(headrace)),
            ("n", lambda: segments.lapses(headrace)),
            ("k", campaigns.runner),
            ("l", lambda: campaigns.ready(headrace)),
            ("m", campaigns.deliveries),
            ("i", segments.building),
        ):
            if not options.only or set(letters) & set(options.only):
                measure()


class Bench:
    """One run on one database of its own."""

    def __init__(self, rounds: int, seconds: float) -> None:
        self.rounds, self.seconds = rounds, seconds
        self._plain_key = ""
        manage("migrate", "-v0")
        manage("migrate", "-v0", "--run-syncdb")
        self.demo = json.loads(manage("create_workspace", "bench", "--json"))
        django_setup()
        self.contact_ids = make_contacts(self.demo["workspace"], CONTACTS)

    def sends(self) -> None:
        """(s): see there."""
        plain_key = self.plain_key()
        bodies = [
            json.dumps({"type": "purchase", "contact": each, "metadata": {"amount": 99, "currency": "USD"}})
            for each in self.contact_ids
        ]

        def plain(connections: int) -> float:
            with plain_way() as port:
                return self.load_bodies(port, "/events", plain_key, bodies, connections)["per_second"]

        bench = SendBench(self.rounds, show, self.load_bodies, whole_headrace, self.contact_ids)
        bench.sends(self.demo, plain)

    def plain_key(self) -> str:
        """Return the plain way's key; its rows are made once."""
        if not self._plain_key:
            self._plain_key = make_plain_rows(self.demo["workspace"], self.contact_ids)
        return self._plain_key

    def single_sends(self) -> None:
        """(b) and (c): one event a request, effects and all, against the plain way."""
        plain_key = self.plain_key()
        own, plain = [], []
        for _ in range(self.rounds):
            with headrace() as port:
                own.append(
                    self.load(
                        port,
                        f"/api/workspaces/{self.demo['workspace']}/events",
                        self.demo["api_key"],
                        "contactId",
                    )
                )
            with plain_way() as port:
                plain.append(self.load(port, "/events", plain_key, "contact"))
        show("c", "single sends, requests/s", [each["per_second"] for each in own], goal=1700)
        show("", "  their latency, p95 in ms", [each["p95_ms"] for each in own])
        show("", "the plain way, requests/s", [each["per_second"] for each in plain])
        ratios = [mine["per_second"] / other["per_second"] for mine, other in zip(own, plain, strict=True)]
        show("b", "single sends ÷ the plain way", ratios, goal=2)
        with headrace() as port:
            for name, path, body in self.formats():
                result = self.load_bodies(
                    port, path, self.demo["api_key"], [json.dumps(body(each)) for each in self.contact_ids]
                )
                show("", f"  {name}, requests/s", [result["per_second"]])

    def formats(self) -> list[tuple[str, str, Callable[[str], dict[str, Any]]]]:
        """Return the other wire formats' endpoints whose path does not name the contact."""
        return [
            (
                "/api/partner/events",
                "/api/partner/events",
                lambda contact: {"type": "page_view", "personId": contact, "pageUrl": "https://example.com/"},
            ),
            (
                "/v4/track",
                "/v4/track",
                lambda contact: {
                    "eventName": "visit",
                    "contact": {"id": contact},
                    "properties": {"amount": 99},
                },
            ),
        ]

    def segments(self) -> SegmentBench:
        """(f) to (j), and (n)."""
        from events import receivers

        receivers.publish = lambda workspace_id: None  # type: ignore[assignment]  # no worker beside us
        return SegmentBench(
            self.rounds, show, lambda name: json.loads(manage("create_workspace", name, "--json"))
        )

    def campaigns(self) -> CampaignBench:
        """(k) to (m)."""
        from campaigns import receivers

        receivers.publish_steps = lambda workspace_id: None  # type: ignore[assignment]  # no worker beside us
        receivers.publish_beginning = lambda workspace_id: None  # type: ignore[assignment]  # as above
        return CampaignBench(
            self.rounds,
            show,
            lambda name: json.loads(manage("create_workspace", name, "--json")),
            free_port,
        )

    def load(self, port: int, path: str, key: str, contact_field: str) -> dict[str, float]:
        """Post single events of known contacts."""
        bodies = [
            json.dumps(
                {"type": "purchase", contact_field: each, "metadata": {"amount": 99, "currency": "USD"}}
            )
            for each in self.contact_ids
        ]
        return self.load_bodies(port, path, key, bodies)

    def load_bodies(
        self, port: int, path: str | list[str], key: str, bodies: list[str], connections: int = CONNECTIONS
    ) -> dict[str, float]:
        """Run the load generator as a process of its own."""
        result: dict[str, float] = {}
        job = {"port": port, "path": path, "key": key, "bodies": bodies, "connections": connections}
        warm_up = 0.0
        for seconds in (1.0, self.seconds):  # the first one warms up
            warm_up = result["per_second"] * result["seconds"] if result else 0.0
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.load"],
                input=json.dumps({**job, "seconds": seconds}),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            result = json.loads(done.stdout)
        if result["failures"]:
            sys.exit(f"{result['failures']:.0f} requests to {path} failed")
        return {**result, "warm_up": warm_up}

    def batches(self) -> None:
        """(a): batches of 1,000 against COPY of the same rows into the same table."""
        ratios, ours, copies = [], [], []
        path = f"/api/workspaces/{self.demo['workspace']}/events/batch"
        bodies = [json.dumps({"events": self.items(turn)}) for turn in range(8)]
        for _ in range(self.rounds):
            with headrace(worker=False) as port:
                result = self.load_bodies(port, path, self.demo["api_key"], bodies, connections=4)
            ours.append(result["per_second"] * BATCH)
            copies.append(copy_rate(self.demo["workspace"]))
            ratios.append(ours[-1] / copies[-1])
        show("", "batch ingest over HTTP, events/s", ours)
        show("", "COPY of the same rows, events/s", copies)
        show("a", "batch ingest ÷ COPY", ratios, goal=0.35)

    def items(self, turn: int) -> list[dict[str, Any]]:
        """Return a batch's items."""
        chance = random.Random(turn)
        return [
            {
                "type": "purchase",
                "contactId": chance.choice(self.contact_ids),
                "metadata": {
                    "amount": chance.randint(1, 200),
                    "currency": "USD",
                    "sku": f"sku-{chance.randint(1, 500)}",
                },
                "sessionId": "sess",
                "pageUrl": "https://shop.example.com/checkout",
            }
            for _ in range(BATCH)
        ]

    def effects(self) -> None:
        """(d): the runner with 100 rules on one event name."""
        for title, goal, matching in (("two match", 10_000, 2), ("all match", None, 100)):
            rates = [
                effects_rate(self.demo["workspace"], self.contact_ids, matching) for _ in range(self.rounds)
            ]
            show("d" if goal else "", f"events/s through the runner, 100 rules, {title}", rates, goal=goal)


def lists(home: str) -> None:
    """(e): the lists of a small and a big workspace, in a database of their own that goes when they are done."""
    environment = {
        **os.environ,
        "HEADRACE_HOME": f"{home}/lists",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    print("(e) pages of lists, 10,000 events and contacts against 10,000,000 and 2,000,000", flush=True)
    subprocess.run([sys.executable, "-m", "benchmarks.lists"], env=environment, check=True)


def show(
    letter: str, title: str, values: list[float], goal: float | None = None, *, at_most: bool = False
) -> None:
    """Print a figure's median, its range and its goal: to reach, or not to pass."""
    median = statistics.median(values)
    verdict = ""
    if goal is not None:
        is_reached = median <= goal if at_most else median >= goal
        verdict = f"   goal {'≤ ' if at_most else ''}{goal:,} {'reached' if is_reached else 'NOT reached'}"
    print(
        f"{letter and f'({letter})':<4}{title:<58}{median:>12,.2f}"
        f"   [{min(values):,.2f} to {max(values):,.2f}]{verdict}",
        flush=True,
    )


def manage(*arguments: str) -> str:
    """Run a management command in a process of its own."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def django_setup() -> None:
    """Make this process one of Headrace's."""
    import django

    django.setup()

    from config.memory import settle

    settle()  # as in a worker


def make_contacts(workspace: str, count: int) -> list[str]:
    """Make contacts by their e-mail addresses."""
    from django.db import transaction

    from contacts.services import ContactReference, resolve_contacts

    references = [
        ContactReference(identifiers=(("email", f"{place}@example.test"),), if_missing="create")
        for place in range(count)
    ]
    with transaction.atomic():
        return [str(each.contact_id) for each in resolve_contacts(_uuid(workspace), references)]


def make_plain_rows(workspace: str, contact_ids: list[str]) -> str:
    """Give the plain way its contacts and a key."""
    import hashlib

    from benchmarks.plain.models import PlainContact, PlainKey

    PlainKey.objects.create(key_hash=hashlib.sha256(b"plain").hexdigest(), workspace_id=workspace)
    PlainContact.objects.bulk_create(
        PlainContact(id=each, workspace_id=workspace, email=f"{each}@example.test") for each in contact_ids
    )
    return "plain"


def copy_rate(workspace: str) -> float:
    """Return rows/s of a COPY of 100,000 of the stream's rows, with new ids, into the stream's table."""
    import psycopg
    from django.db import connection

    columns = (
        "id",
        "workspace_id",
        "contact_id",
        "company_id",
        "name",
        "properties",
        "context",
        "occurred_at",
        "received_at",
        "source",
        "message_id",
        "cause_id",
        "depth",
    )
    fresh = columns[1:]
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM events_event")
        raw: psycopg.Cursor[Any] = cursor.cursor
        data = io.BytesIO()
        # The new id keeps the month and the order: only its last bits are drawn anew.
        with raw.copy(
            "COPY (SELECT (left(id::text, 24) || substr(md5(random()::text), 1, 12))::uuid, "
            + ", ".join(fresh)
            + f" FROM events_event WHERE workspace_id = '{_uuid(workspace)}' AND source = 'api'"
            " ORDER BY id DESC LIMIT 100000) TO STDOUT"
        ) as reading:
            for block in reading:
                data.write(block)
        rows = data.getvalue().count(b"\n")
        started = time.perf_counter()
        with raw.copy(f"COPY events_event ({', '.join(columns)}) FROM STDIN") as writing:
            writing.write(data.getvalue())
        return rows / (time.perf_counter() - started)


def effects_rate(workspace: str, contact_ids: list[str], matching: int) -> float:
    """Return events/s of one worker over 20,000 waiting events."""
    from contacts.services import ContactReference
    from events import receivers
    from events.models import EventBatch
    from events.services import IncomingEvent, SchemaPolicy, apply_effects, record_events
    from scoring.models import ScoreEntry, ScoringRule
    from scoring.services import save_rule
    from workspaces.models import Workspace

    receivers.publish = lambda workspace_id: None  # type: ignore[assignment]  # no worker beside us
    space = Workspace.objects.get(id=workspace)
    ScoringRule.objects.all().delete()
    for place in range(100):
        category = f"c{place // matching}"
        condition = {"field": "metadata.category", "operator": "eq", "value": category}
        save_rule(
            ScoringRule(workspace=space, name=f"rule {place}", event_name="buy", points=1),
            condition=condition,
        )
    EventBatch.objects.all().delete()
    count = 20_000 if matching == 2 else 4_000
    for _ in range(count // BATCH):
        record_events(
            space,
            [
                IncomingEvent(
                    "buy",
                    ContactReference(id=random.choice(contact_ids)),
                    {"category": f"c{random.randrange(100 // matching)}", "amount": 10},
                )
                for _ in range(BATCH)
            ],
            schema_policy=SchemaPolicy.OPEN,
        )
    before = ScoreEntry.objects.count()
    started = time.perf_counter()
    apply_effects(space.id)
    elapsed = time.perf_counter() - started
    if ScoreEntry.objects.count() - before != count * matching:
        sys.exit("the ledger does not have the entries that it should")
    return count / elapsed


@contextlib.contextmanager
def headrace(*, worker: bool = True) -> Iterator[int]:
    """Run Headrace as `make run` does, without the worker where asked."""
    port = free_port()
    command = ["manage.py", "run", f"--port={port}"]
    environment = {"DJANGO_SETTINGS_MODULE": "config.settings"}
    if not worker:
        command = _granian(port, "config.wsgi:application")
        environment["HEADRACE_WEB"] = "1"
    with running([sys.executable, *command], environment, port):
        yield port


@contextlib.contextmanager
def whole_headrace() -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Run Headrace as `make run` does; yield its port and its first process."""
    port = free_port()
    environment = {"DJANGO_SETTINGS_MODULE": "config.settings"}
    with running([sys.executable, "manage.py", "run", f"--port={port}"], environment, port) as process:
        yield port, process


@contextlib.contextmanager
def plain_way() -> Iterator[int]:
    """Run the plain way on the same web server, with its worker."""
    port = free_port()
    environment = {"DJANGO_SETTINGS_MODULE": "benchmarks.plain.settings", "HEADRACE_WEB": "1"}
    worker = [
        sys.executable,
        "-m",
        "celery",
        "--quiet",
        "--app=config",
        "worker",
        "--concurrency=2",
        "--loglevel=error",
    ]
    with (
        running([sys.executable, *worker], {**environment, "HEADRACE_WEB": ""}, None),
        running([sys.executable, *_granian(port, "config.wsgi:application")], environment, port),
    ):
        yield port


def _granian(port: int, application: str) -> list[str]:
    return [
        "-m",
        "granian",
        "--interface",
        "wsgi",
        "--no-ws",
        "--log-level",
        "warning",
        f"--port={port}",
        "--workers=2",
        "--blocking-threads=4",
        application,
    ]


@contextlib.contextmanager
def running(
    command: list[str], environment: dict[str, str], port: int | None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; with a port, from when it answers."""
    variables = {**os.environ, **environment}
    variables = {name: value for name, value in variables.items() if value}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while port is not None and not _answers(port):
            if time.monotonic() > deadline or process.poll() is not None:
                sys.exit(f"{' '.join(command)} did not start")
            time.sleep(0.1)
        time.sleep(1.0)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=0.5):
        return True
    return False


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _uuid(text: str) -> Any:
    from uuid import UUID

    return UUID(text)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
