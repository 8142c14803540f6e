"""The table of outages that the tests print."""

from collections.abc import Mapping, Sequence
from typing import Any

_HEADS = (
    "scenario",
    "acknowledged",
    "stored",
    "effects",
    "lost",
    "twice",
    "stuck",
    "settled",
    "seconds to recover",
    "p95 / idle",
)


def table_of(outages: Sequence[Mapping[str, Any]]) -> str:
    """Return outages as a Markdown table; a p95 in brackets is of affected requests only."""
    rows = [_HEADS, *(_row(outage) for outage in outages)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _row(outage: Mapping[str, Any]) -> tuple[str, ...]:
    slowdown = f"{outage['slowdown']:.1f}"
    return (
        outage["scenario"],
        f"{outage['acknowledged']:,}",
        f"{outage['stored']:,}",
        f"{outage['effects']:,} of {outage['expected']:,}",
        *(f"{outage[name]:,}" for name in ("lost", "twice", "stuck", "settled")),
        f"{outage['recovery_seconds']:.1f}",
        f"({slowdown})" if outage["concerns_all"] else slowdown,
    )
