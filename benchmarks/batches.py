"""(a): batches of 1,000 over HTTP, against COPY of the same rows into the same table."""

import json
import random
from typing import Any
from uuid import UUID

from benchmarks.figures import show, show_cpu
from benchmarks.machine import KINDS, copy_rate, measured
from benchmarks.processes import headrace, make_workspace, post_all
from benchmarks.sends import make_contacts, make_rules

CONTACTS = 1_000
BATCH = 1_000
CONNECTIONS = 4


def measure(rounds: int, seconds: float) -> None:
    """Print the rate with the workers stopped and working, each as a share of COPY's in the same round."""
    demo = make_workspace("batches")
    workspace = UUID(demo["workspace"])
    contacts = make_contacts(workspace, CONTACTS)
    make_rules(workspace)
    path = f"/api/workspaces/{workspace}/events/batch"
    bodies = [json.dumps({"events": items(contacts, turn)}) for turn in range(8)]
    taken: dict[int, list[dict[str, Any]]] = {0: [], 2: []}
    copies = []
    for _ in range(rounds):
        for workers, results in taken.items():
            with headrace(workers=workers) as (port, process), measured(process) as cpu:
                result = post_all(
                    port, path, demo["api_key"], bodies, connections=CONNECTIONS, seconds=seconds
                )
                count = result["count"] * BATCH
            results.append({**result, "cpu": {kind: cpu[kind] / count * 1000 for kind in KINDS}})
            _apply_the_rest(workspace)
        copies.append(copy_rate(workspace))
    show("", "COPY of the same rows, events/s", copies)
    for workers, title, goal, aim in ((0, "stopped", 0.5, 0.7), (2, "working", 0.25, 0.35)):
        rates = [each["per_second"] * BATCH for each in taken[workers]]
        show("", f"batches with the workers {title}, events/s", rates)
        shares = [rate / copied for rate, copied in zip(rates, copies, strict=True)]
        show("a", f"batches with the workers {title} ÷ COPY (aim {aim:g})", shares, goal=goal)
        show_cpu([each["cpu"] for each in taken[workers]], "an event")


def _apply_the_rest(workspace: UUID) -> None:
    """Apply all waiting effects, so that rounds start alike."""
    from events.processing.passes import apply_effects

    apply_effects(workspace)


def items(contacts: list[str], turn: int) -> list[dict[str, Any]]:
    """Return a batch's items."""
    chance = random.Random(turn)
    return [
        {
            "type": "purchase",
            "contactId": chance.choice(contacts),
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
