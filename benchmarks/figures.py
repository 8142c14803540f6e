"""Print a figure's median, range and goal."""

import statistics
from collections.abc import Sequence


def show(
    letter: str, title: str, values: Sequence[float], goal: float | None = None, *, at_most: bool = False
) -> None:
    """Print a figure's median, range and goal, a lower or upper bound."""
    median = statistics.median(values)
    verdict = ""
    if goal is not None:
        is_reached = median <= goal if at_most else median >= goal
        verdict = f"   goal {'≤ ' if at_most else ''}{goal:,} {'reached' if is_reached else 'NOT reached'}"
    print(
        f"{letter and f'({letter})':<4}{title:<62}{median:>12,.3f}"
        f"   [{min(values):,.3f} to {max(values):,.3f}]{verdict}",
        flush=True,
    )


def show_cpu(costs: Sequence[dict[str, float]], of: str) -> None:
    """Print the CPU milliseconds of each kind of process."""
    for kind in costs[0]:
        show("", f"  CPU of {kind} {of}, ms", [each[kind] for each in costs])


def percentile(values: Sequence[float], share: float) -> float:
    """Return the percentile: `share` of the values are at most this."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
