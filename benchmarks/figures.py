"""What `make bench` prints: a figure with its median, its range, and the goal that it is to reach."""

import statistics
from collections.abc import Sequence


def show(
    letter: str, title: str, values: Sequence[float], goal: float | None = None, *, at_most: bool = False
) -> None:
    """Print a figure's median, its range and its goal: to reach, or not to pass."""
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
    """Return the value that `share` of the values do not pass."""
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]
