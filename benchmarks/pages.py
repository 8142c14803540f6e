"""(p): a page of 100 rows of each list of the API, in one process: its time, and the Python calls of a row."""

import argparse
import cProfile
import os
import pstats
import statistics
import subprocess
import sys
import time
from typing import Any
from uuid import UUID

from benchmarks.processes import make_workspace, manage, set_up
from benchmarks.sends import make_contacts

ROWS = 3_000
PAGE = 100
LISTS = {
    "contacts": "contacts",
    "events": "events",
    "messages": "messages",
    "enrollments": "campaigns/CAMPAIGN/runs",
    "decisions": "campaigns/CAMPAIGN/decisions",
}


def measure(rounds: int, seconds: float) -> None:
    """Measure in a process and a database of their own."""
    environment = {
        **os.environ,
        "HEADRACE_HOME": f"{os.environ['HEADRACE_HOME']}/pages",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    subprocess.run([sys.executable, "-m", "benchmarks.pages"], env=environment, check=True)


def main() -> None:
    """Print what a page of each list costs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pages", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--profile", default="", help="a list's name: print its functions by their own time")
    options = parser.parse_args()
    manage("migrate", "-v0")
    demo = make_workspace(f"pages {os.getpid()}")
    set_up()
    campaign = fill(UUID(demo["workspace"]))

    from django.test import Client

    client = Client(headers={"authorization": f"Bearer {demo['api_key']}"})
    print("(p) a page of 100 rows".ljust(30), "calls a row", "ms", "CPU ms", sep="\t")
    for name, path in LISTS.items():
        url = f"/api/workspaces/{demo['workspace']}/{path.replace('CAMPAIGN', str(campaign))}?limit={PAGE}"
        for _ in range(6):  # statements are prepared
            assert client.get(url).status_code == 200, client.get(url).content
        taken, cpu = zip(*(_timed(client, url) for _ in range(options.rounds)), strict=True)
        profile = cProfile.Profile()
        profile.runcall(client.get, url)
        stats: Any = pstats.Stats(profile)
        calls = stats.total_calls / PAGE
        print(
            f"    {name}".ljust(30),
            f"{calls:.0f}",
            f"{statistics.median(taken):.2f}",
            f"{statistics.median(cpu):.2f}",
            sep="\t",
            flush=True,
        )
        if name == options.profile:
            stats.sort_stats("tottime").print_stats(25)


def _timed(client: Any, url: str) -> tuple[float, float]:
    started, cpu = time.perf_counter(), time.process_time()
    client.get(url)
    return (time.perf_counter() - started) * 1000, (time.process_time() - cpu) * 1000


def fill(workspace_id: UUID) -> UUID:
    """Make contacts, and for each an event, a message, an enrollment and a decision; return the campaign's id."""
    from django.db import connection

    from campaigns.models import Campaign, CampaignVersion, Decision, Enrollment, Message
    from contacts.references import ContactReference
    from events.stream.recording import record_events
    from events.stream.types import IncomingEvent, SchemaPolicy

    contacts = make_contacts(workspace_id, ROWS)
    incoming = [
        IncomingEvent(
            "purchase", ContactReference(id=contact_id), properties={"amount": 99, "currency": "USD"}
        )
        for contact_id in contacts
    ]
    for start in range(0, ROWS, 1_000):
        record_events(workspace_id, incoming[start : start + 1_000], schema_policy=SchemaPolicy.OPEN)
    campaign = Campaign.objects.create(workspace_id=workspace_id, name="Pages")
    of_campaign = {"workspace_id": workspace_id, "campaign": campaign}
    version = CampaignVersion.objects.create(**of_campaign, number=1, definition={})
    for model, values in (
        (
            Message,
            {"channel": "email", "address": "jane@example.test", "subject": "Hello", "body": "<p>Hello"},
        ),
        (Enrollment, {"version": version}),
        (Decision, {"kind": "entered"}),
    ):
        rows = (model(**of_campaign, contact_id=contact_id, **values) for contact_id in contacts)
        if model is not Decision:
            rows = (_with_key(row) for row in rows)
        model._default_manager.bulk_create(rows)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")
    return campaign.pk


def _with_key(row: Any) -> Any:
    row.key = str(row.contact_id)
    return row


if __name__ == "__main__":
    main()
