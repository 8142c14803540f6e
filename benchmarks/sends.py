"""(s): single sends with everything on, against what PostgreSQL itself does, and against the plain way."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

from benchmarks.figures import show, show_cpu
from benchmarks.machine import KINDS, inserts, loop_seconds, measured
from benchmarks.processes import headrace, make_workspace, plain_way, post_all

CONTACTS = 1_000
RULES = 10
BASELINE_KEY = "plain"


def measure(rounds: int, seconds: float) -> None:
    """Print sends at several numbers of connections, in every format, with the CPU of each kind of process."""
    demo = make_workspace("sends")
    workspace = UUID(demo["workspace"])
    contacts = make_contacts(workspace, CONTACTS)
    make_rules(workspace)
    make_baseline_rows(workspace, contacts)
    done = [_round(demo, contacts, seconds) for _ in range(rounds)]
    show("", "2,000,000 additions in a loop, seconds", [each["loop"] for each in done])
    show("", "pgbench, durable one-row inserts/s by 8 clients", [each["pgbench"] for each in done])
    for connections, ratio, aim in ((8, 0.07, 0.12), (32, 0.13, 0.20)):
        name = f"sends at {connections} connections"
        ours = [each[connections] for each in done]
        show("", f"{name}, requests/s", [each["per_second"] for each in ours])
        shares = [each[connections]["per_second"] / each["pgbench"] for each in done]
        show("s", f"{name} ÷ pgbench (aim {aim:g})", shares, goal=ratio)
        show("", "  p50 in ms", [each["p50_ms"] for each in ours])
        late = [each["p99_ms"] for each in ours]
        if connections == 32:
            show("s", "  p99 in ms (aim 50)", late, goal=100, at_most=True)
        else:
            show("", "  p99 in ms", late)
        show_cpu([each["cpu"] for each in ours], "a send")
        costs = [sum(each[connections]["cpu"].values()) / each["insert"] for each in done]
        show("", "  CPU of all a send ÷ CPU of pgbench's server an insert", costs)
    show("", "the plain way at 32 connections, requests/s", [each["plain"] for each in done])
    ratios = [each[32]["per_second"] / each["plain"] for each in done]
    show("s", "sends at 32 connections ÷ the plain way (aim 6)", ratios, goal=4)
    for name in FORMATS:
        shares = [each[name] / each[32]["per_second"] for each in done]
        show("s", f"  {name} ÷ the native one (aim 1)", shares, goal=0.8)


def _round(demo: dict[str, Any], contacts: list[str], seconds: float) -> dict[Any, Any]:
    key = demo["api_key"]
    native = f"/api/workspaces/{demo['workspace']}/events"
    figures: dict[Any, Any] = {"loop": loop_seconds()}
    figures["pgbench"], figures["insert"] = inserts()
    properties = {"amount": 99, "currency": "USD"}
    bodies = [
        json.dumps({"type": "purchase", "contactId": each, "metadata": properties}) for each in contacts
    ]
    with headrace() as (port, process):
        for connections in (8, 32):
            with measured(process) as cpu:
                result = post_all(port, native, key, bodies, connections=connections, seconds=seconds)
            costs = {kind: cpu[kind] / result["count"] * 1000 for kind in KINDS}
            figures[connections] = {**result, "cpu": costs}
        for name, (path, body) in FORMATS.items():
            target = path.format(workspace=demo["workspace"])
            figures[name] = post_all(
                port,
                [target.replace("PLACE", str(place)) for place in range(len(contacts))],
                key,
                [json.dumps(body(place)) for place in range(len(contacts))],
                connections=32,
                seconds=seconds,
            )["per_second"]
    plain_bodies = [
        json.dumps({"type": "purchase", "contact": each, "metadata": properties}) for each in contacts
    ]
    with plain_way() as port:
        figures["plain"] = post_all(
            port, "/events", BASELINE_KEY, plain_bodies, connections=32, seconds=seconds
        )["per_second"]
    return figures


# The contacts are known as {place}@example.test.
FORMATS: dict[str, tuple[str, Callable[[int], dict[str, Any]]]] = {
    "/v1/…/contacts/{e-mail}/events": (
        "/v1/workspaces/{workspace}/contacts/PLACE@example.test/events",
        lambda place: {"event_name": "purchase", "attributes": {"amount": 99}},
    ),
    "/v1/events/send": (
        "/v1/events/send",
        lambda place: {"eventName": "purchase", "email": f"{place}@example.test"},
    ),
    "/api/partner/events": (
        "/api/partner/events",
        lambda place: {"type": "purchase", "person": {"emails": [f"{place}@example.test"]}},
    ),
    "/v4/track": (
        "/v4/track",
        lambda place: {
            "eventName": "purchase",
            "email": f"{place}@example.test",
            "properties": {"amount": 99},
        },
    ),
    # Known from the first send on.
    "/v1/batch of one": (
        "/v1/batch",
        lambda place: {
            "batch": [
                {
                    "type": "track",
                    "userId": f"u{place}",
                    "event": "purchase",
                    "properties": {"amount": 99},
                    "context": {"library": {"name": "analytics-python", "version": "2.4.0"}},
                }
            ]
        },
    ),
}


def make_contacts(workspace: UUID, count: int) -> list[str]:
    """Make contacts by their e-mail addresses."""
    from django.db import connection, transaction

    from contacts.identity.resolution import resolve_contacts
    from contacts.references import ContactReference

    references = [
        ContactReference(identifiers=(("email", f"{place}@example.test"),), if_missing="create")
        for place in range(count)
    ]
    with transaction.atomic():
        made = [str(each.contact_id) for each in resolve_contacts(workspace, references)]
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")  # as the server has done itself a minute after a real start
    return made


def make_rules(workspace: UUID) -> None:
    """Make scoring rules on the name that is sent, and declare it for the format that wants that."""
    from events.stream.definitions import create_definition
    from scoring.models import ScoringRule
    from scoring.rules import save_rule
    from workspaces.models import Workspace

    space = Workspace.objects.get(id=workspace)
    for place in range(RULES):
        rule = ScoringRule(workspace=space, name=f"sends {place}", event_name="purchase", points=1)
        save_rule(rule, condition=None)
    create_definition(space.id, "purchase")


def make_baseline_rows(workspace: UUID, contacts: list[str]) -> None:
    """Give the plain way its contacts and a key."""
    import hashlib

    from benchmarks.plain.models import PlainContact, PlainKey

    key_hash = hashlib.sha256(BASELINE_KEY.encode()).hexdigest()
    PlainKey.objects.create(key_hash=key_hash, workspace_id=workspace)
    PlainContact.objects.bulk_create(
        PlainContact(id=each, workspace_id=workspace, email=f"{each}@example.test") for each in contacts
    )
