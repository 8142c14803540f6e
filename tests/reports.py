"""What tests report besides that they passed."""

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
    """Return outcomes of outages as a table of Markdown; a p95 in brackets is of those whom the fault concerns."""
    rows = [_HEADS, *(_row(one) for one in outages)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(_HEADS))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    slowdown = f"{one['slowdown']:.1f}"
    return (
        one["scenario"],
        f"{one['acknowledged']:,}",
        f"{one['stored']:,}",
        f"{one['effects']:,} of {one['expected']:,}",
        *(f"{one[name]:,}" for name in ("lost", "twice", "stuck", "settled")),
        f"{one['recovery_seconds']:.1f}",
        f"({slowdown})" if one["concerns_all"] else slowdown,
    )
