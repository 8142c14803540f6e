"""What segments cost: in the runner, as their number and as history grow, to build, and until they are seen."""

from __future__ import annotations

import json
import random
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from multiprocessing import get_context
from typing import Any
from uuid import UUID

from benchmarks.figures import percentile, show, show_cpu
from benchmarks.machine import copy_rate, measured
from benchmarks.processes import headrace, make_workspace, set_up

CHUNK = 1_000
DAYS = 60
MINUTE = timedelta(minutes=1)
PROBES = 200
SLOWEST_SECONDS = 10.0
"""Longer than that nobody waits for one probe."""
PATIENCE_SECONDS = 60.0
"""Nor longer than that for all of them: where they are so slow, some are enough."""


def runner(rounds: int, seconds: float) -> None:
    """(f): 100 segments beside 100 scoring rules on one name of event, 1,000,000 events of history."""
    workspace, contacts = _workspace("segments", contacts=100_000, events=1_000_000)
    rates: dict[int, list[float]] = {2: [], 1: []}
    costs: dict[int, list[dict[str, float]]] = {2: [], 1: []}
    copies = []
    for _ in range(rounds):
        for matching in rates:
            make_rules(workspace, scoring=100, segments=100, matching=matching)
            own = time.process_time()
            with measured(None) as cpu:
                rates[matching].append(run(workspace, contacts, 20_000, categories=100 // matching))
            spent = {"worker": time.process_time() - own, "postgres": cpu["postgres"]}
            costs[matching].append({kind: each / 20_000 * 1000 for kind, each in spent.items()})
        copies.append(copy_rate(workspace))
    show("", "COPY of the same rows, events/s", copies)
    for matching, words in ((2, "two match"), (1, "one matches")):
        show("", f"events/s, 100 rules and 100 segments, {words}", rates[matching])
        shares = [rate / copied for rate, copied in zip(rates[matching], copies, strict=True)]
        show("f", "  ÷ COPY", shares, goal=0.1)
        show_cpu(costs[matching], "an event, recorded and applied")


def many(rounds: int, seconds: float) -> None:
    """(g): what ten times the segments cost, and what it costs if all of them match."""
    workspace, contacts = _workspace("many segments", contacts=100_000, events=1_000_000)
    rates = {}
    for count in (100, 1_000):
        make_rules(workspace, scoring=100, segments=count, matching=2)
        rates[count] = [run(workspace, contacts, 20_000, categories=count // 2) for _ in range(rounds)]
    show("", "events/s, 100 rules and 1,000 segments, two match", rates[1_000])
    costs = [few / more for few, more in zip(rates[100], rates[1_000], strict=True)]
    show("g", "cost of 1,000 segments ÷ cost of 100", costs, goal=5, at_most=True)
    make_rules(workspace, scoring=100, segments=100, matching=100)
    rates_of_all = [run(workspace, contacts, 2_000, categories=1)]
    show("", "events/s, all 100 rules and all 100 segments match", rates_of_all)


def history(rounds: int, seconds: float) -> None:
    """(h): all-time conditions on contacts with a short and with a long history."""
    rates = []
    for each in (10, 1_000):
        workspace, contacts = _workspace(f"history {each}", contacts=2_000, events=2_000 * each)
        make_rules(workspace, scoring=0, segments=10, matching=2, window=None)
        rates.append(statistics.median(run(workspace, contacts, 10_000, categories=5) for _ in range(rounds)))
    title = "cost with 1,000 events a contact ÷ with 10, all time"
    show("h", title, [rates[0] / rates[1]], goal=1.25, at_most=True)


def building(rounds: int, seconds: float) -> None:
    """(i): a build over 1,000,000 contacts and 10,000,000 events, by two processes, as `make run` has them."""
    from segments.models import Segment

    workspace, _ = _workspace("building", contacts=1_000_000, events=10_000_000)
    with ProcessPoolExecutor(2, get_context("spawn"), set_up) as workers:
        list(workers.map(abs, range(2)))
        for title, window in (("30 days", "30d"), ("all time", None)):
            segment = make_segment(workspace, f"built {title}", buys("c1", 1, window))
            started = time.perf_counter()
            list(workers.map(work_on_lane, *zip(*lanes(workspace, segment.id, "build"), strict=True)))
            took = time.perf_counter() - started
            assert Segment.objects.get(id=segment.id).build == Segment.Build.NONE
            show("i", f"seconds to build, {title}", [took], goal=60, at_most=True)
            list(workers.map(work_on_lane, *zip(*lanes(workspace, segment.id, "announce"), strict=True)))
            show("", "  and until all are told of", [time.perf_counter() - started])


def lapses(rounds: int, seconds: float) -> None:
    """(n): 100,000 memberships that fall due within one minute, and what senders notice of it."""
    from config import clock
    from events.processing.lag import processing_lag
    from segments.build import run_build
    from segments.models import Membership

    demo = make_workspace("lapses")
    workspace = UUID(demo["workspace"])
    begins = clock.now() + timedelta(seconds=120)
    first = begins - timedelta(hours=1)
    contacts = fill(workspace, contacts=100_000, events=100_000, first=first, over=MINUTE)
    run_build(workspace, make_segment(workspace, "lapsing", buys(None, 1, "1h")).id)
    members = Membership.objects.filter(workspace_id=workspace)
    with headrace() as (port, _):
        time.sleep(2)
        quiet = paced(port, demo, contacts, seconds=15)
        assert members.count() == len(contacts), "they began to lapse before all was ready"
        time.sleep(max((begins - clock.now()).total_seconds(), 0))
        with watched(lambda: processing_lag(workspace, clock.now()).seconds) as lags:
            busy = paced(port, demo, contacts, seconds=60)
            while processing_lag(workspace, clock.now()).overdue:
                time.sleep(0.2)
        late = (clock.now() - begins - MINUTE).total_seconds()
    ratio = percentile(busy, 0.95) / percentile(quiet, 0.95)
    show("n", "p95 of a send while 100,000 lapse ÷ before", [ratio], goal=2, at_most=True)
    show("", "  p95 before, in ms", [percentile(quiet, 0.95) * 1000])
    show("", "  longest lag, in seconds", [max(lags)])
    show("", "  all were out so many seconds after the last moment", [late])
    show("", "  members left: those who bought meanwhile", [members.count()])


def visible(rounds: int, seconds: float) -> None:
    """(j): from an event's acceptance until its membership is seen, at 500 events/s."""
    from segments.build import run_build
    from segments.models import Membership

    demo = make_workspace("visible")
    workspace = UUID(demo["workspace"])
    contacts = fill(workspace, contacts=20_000, events=100_000)
    make_rules(workspace, scoring=100, segments=100, matching=2)
    probe = make_segment(workspace, "probe", buys("probe", 1, "30d"))
    run_build(workspace, probe.id)
    probe.refresh_from_db()
    members = Membership.objects.filter(workspace_id=workspace, version=probe.version)
    show_delays("j", "accepted → member", delays_of(demo, contacts, members, rounds), goal=250)


def delays_of(demo: dict[str, Any], contacts: list[UUID], rows: Any, rounds: int) -> list[list[float]]:
    """Return how long probes of contacts take until `rows` have them, in ms, at 500 events/s of others."""
    with headrace() as (port, _), load(port, demo, contacts[: len(contacts) // 2]):
        time.sleep(2)
        probes = [contacts[-(place + 1) * PROBES :][:PROBES] for place in range(rounds)]
        return [seen_after(port, demo, each, rows) for each in probes]


def show_delays(letter: str, title: str, delays: list[list[float]], goal: float) -> None:
    """Print the 50th, 95th and 99th percentile of each round's delays."""
    show("", f"{title} at 500 events/s, p50 in ms", [percentile(each, 0.5) for each in delays])
    show(letter, "  its p95 in ms", [percentile(each, 0.95) for each in delays], goal=goal, at_most=True)
    show("", "  its p99 in ms", [percentile(each, 0.99) for each in delays])


def _workspace(name: str, *, contacts: int, events: int) -> tuple[UUID, list[UUID]]:
    workspace = UUID(make_workspace(name)["workspace"])
    return workspace, fill(workspace, contacts=contacts, events=events)


def seen_after(port: int, demo: dict[str, Any], contacts: list[UUID], rows: Any) -> list[float]:
    """Send a probe of each contact; return how long after the answer `rows` had one of it, in milliseconds.

    A probe is waited for SLOWEST_SECONDS, all together about PATIENCE_SECONDS.
    """
    delays: list[float] = []
    for contact in contacts:
        post(port, demo, [item(contact, "probe")])
        accepted = time.perf_counter()
        own = rows.filter(contact_id=contact)
        while not own.exists() and time.perf_counter() - accepted < SLOWEST_SECONDS:
            time.sleep(0.005)
        delays.append((time.perf_counter() - accepted) * 1000)
        if sum(delays) > PATIENCE_SECONDS * 1000:
            break
        time.sleep(0.03)
    return delays


def lanes(workspace: UUID, segment_id: UUID, work: str) -> list[tuple[str, UUID, UUID, int]]:
    """Return what is to be done for a segment, lane by lane."""
    from events.stream.outbox import LANE_COUNT

    return [(work, workspace, segment_id, lane) for lane in range(LANE_COUNT)]


def work_on_lane(work: str, workspace: UUID, segment_id: UUID, lane: int) -> bool:
    """Build or announce a lane of a segment."""
    from segments.build import BUILDS, PUBLICATIONS

    return (BUILDS if work == "build" else PUBLICATIONS).run_lane(workspace, segment_id, lane)


def fill(
    workspace: UUID,
    *,
    contacts: int,
    events: int,
    first: datetime | None = None,
    over: timedelta = timedelta(days=DAYS),
) -> list[UUID]:
    """Make contacts, and a history of purchases in 50 categories: by default over the last 60 days."""
    from django.db import connection

    from config import clock
    from events.stream.partitions import ensure_partitions

    now = clock.now()
    first = first or now - over
    ensure_partitions({first + timedelta(days=day) for day in range(over.days + 1)})
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO contacts_contact"
            " (id, workspace_id, first_name, last_name, attributes, created_at, updated_at)"
            " SELECT gen_random_uuid(), %s, 'Ada', '', '{}', %s, %s FROM generate_series(1, %s)",
            [workspace, now, now, contacts],
        )
        cursor.execute(
            """
            INSERT INTO events_event (id, workspace_id, contact_id, name, properties, context,
                occurred_at, received_at, source, message_id, depth)
            SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0')
                || '7' || substr(noise, 1, 3) || '8' || substr(noise, 4, 15))::uuid,
                %s, contact_id, 'buy', jsonb_build_object(
                    'category', 'c' || floor(random() * 50)::int, 'amount', floor(random() * 200)::int),
                '{}', at, at, 'import', '', 0
            FROM (
                SELECT c.id AS contact_id, md5(random()::text || n::text) AS noise,
                    %s::timestamptz + random() * %s::interval AS at
                FROM contacts_contact c CROSS JOIN generate_series(1, %s) n WHERE c.workspace_id = %s
            ) drawn
            """,
            [workspace, first, over, max(events // contacts, 1), workspace],
        )
        cursor.execute("SELECT id FROM contacts_contact WHERE workspace_id = %s", [workspace])
        ids = [contact_id for (contact_id,) in cursor.fetchall()]
        cursor.execute("VACUUM (ANALYZE) contacts_contact")
        cursor.execute("VACUUM (ANALYZE) events_event")
    return ids


def buys(category: str | None, at_least: int, window: str | None) -> dict[str, Any]:
    """Return a rule: so many purchases of a category in a window."""
    leaf: dict[str, Any] = {"type": "event", "eventType": "buy", "operator": "gte", "value": at_least}
    if category is not None:
        leaf["filters"] = [{"field": "metadata.category", "operator": "eq", "value": category}]
    if window is not None:
        leaf["timeWindow"] = window
    return {"operator": "AND", "conditions": [leaf]}


def make_segment(workspace: UUID, name: str, rule: dict[str, Any]) -> Any:
    """Make a segment; whoever measures builds it."""
    from segments.definitions import create_segment
    from workspaces.models import Workspace

    return create_segment(Workspace.objects.get(id=workspace).id, name=name, raw=rule)


def make_published(workspace: UUID, name: str, rule: dict[str, Any]) -> None:
    """Make a segment that serves with nobody in it: what a build costs is measured apart."""
    from segments.models import Segment

    Segment.objects.create(workspace_id=workspace, name=name, rule=rule)


def make_rules(
    workspace: UUID, *, scoring: int, segments: int, matching: int, window: str | None = "30d"
) -> None:
    """Replace the workspace's rules. Of the segments that an event touches, every other one can change."""
    from events.processing.passes import bump_rules_version
    from scoring.models import ScoringRule
    from scoring.rules import delete_rule, save_rule
    from segments.build import purge_stale_rows, run_build
    from segments.definitions import delete_segment
    from segments.models import Segment
    from workspaces.models import Workspace

    space = Workspace.objects.get(id=workspace)
    for rule in ScoringRule.objects.filter(workspace_id=workspace):
        delete_rule(rule)
    for segment in Segment.objects.filter(workspace_id=workspace):
        delete_segment(space.id, segment)
    purge_stale_rows(workspace)
    for place in range(scoring):
        save_rule(
            ScoringRule(workspace=space, name=f"rule {place}", event_name="buy", points=1),
            condition={"field": "metadata.category", "operator": "eq", "value": f"c{place // matching}"},
        )
    for place in range(segments):
        # The history has 50 categories, so most contacts enter with their first purchase of one.
        at_least = 1 if place % 2 == 0 else 100_000
        category = None if matching == segments else f"c{place // matching}"
        if category is None:
            at_least = 100_000 + place
        rule = buys(category, at_least, window)
        if window is not None:
            make_published(workspace, f"segment {place}", rule)
        else:  # it reads aggregates, which a build makes
            run_build(workspace, make_segment(workspace, f"segment {place}", rule).id)
    bump_rules_version(workspace)


def run(workspace: UUID, contacts: list[UUID], count: int, *, categories: int) -> float:
    """Return events/s of one worker over events that wait, what follows from them included."""
    from contacts.references import ContactReference
    from events.models import EventBatch
    from events.processing.passes import apply_effects
    from events.stream.recording import record_events
    from events.stream.types import IncomingEvent, SchemaPolicy
    from workspaces.models import Workspace

    apply_effects(workspace)
    space = Workspace.objects.get(id=workspace)
    for _ in range(count // CHUNK):
        incoming = [
            IncomingEvent(
                "buy",
                ContactReference(id=str(random.choice(contacts))),
                {"category": f"c{random.randrange(categories)}", "amount": 10},
            )
            for _ in range(CHUNK)
        ]
        record_events(space.id, incoming, schema_policy=SchemaPolicy.OPEN)
    started = time.perf_counter()
    apply_effects(workspace)
    elapsed = time.perf_counter() - started
    assert not EventBatch.objects.filter(workspace_id=workspace).exists()
    return count / elapsed


def item(contact: UUID, category: str) -> dict[str, Any]:
    """Return a purchase as the batch endpoint takes it."""
    return {"type": "buy", "contactId": str(contact), "metadata": {"category": category, "amount": 10}}


def paced(
    port: int, demo: dict[str, Any], contacts: list[UUID], *, seconds: float, per_second: int = 100
) -> list[float]:
    """Send single events at a steady rate, four at a time. Returns how long each took, in seconds."""
    took: list[float] = []
    ends = time.perf_counter() + seconds

    def send() -> None:
        turn = time.perf_counter()
        while time.perf_counter() < ends:
            time.sleep(max(turn - time.perf_counter(), 0))
            started = time.perf_counter()
            post(port, demo, [item(random.choice(contacts), "c0")])
            took.append(time.perf_counter() - started)
            turn += 4 / per_second

    senders = [threading.Thread(target=send) for _ in range(4)]
    for each in senders:
        each.start()
    for each in senders:
        each.join()
    return took


@contextmanager
def watched(read: Callable[[], float]) -> Iterator[list[float]]:
    """Read a figure twice a second until the block ends."""
    figures = [0.0]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            figures.append(read())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield figures
    finally:
        stop.set()
        watcher.join()


def post(port: int, demo: dict[str, Any], items: list[dict[str, Any]]) -> None:
    """Send a batch."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/workspaces/{demo['workspace']}/events/batch",
        json.dumps({"events": items}).encode(),
        {"Authorization": f"Bearer {demo['api_key']}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=30).read()


@contextmanager
def load(port: int, demo: dict[str, Any], contacts: list[UUID]) -> Iterator[None]:
    """Send 500 events/s, 25 at a time, until the block ends."""
    stop = threading.Event()

    def send() -> None:
        turn = time.perf_counter()
        while not stop.is_set():
            post(port, demo, [item(random.choice(contacts), f"c{random.randrange(50)}") for _ in range(25)])
            turn += 0.05
            time.sleep(max(turn - time.perf_counter(), 0))

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(30)
