"""(o): CPU and memory of an idle installation."""

import time

import psutil

from benchmarks.figures import show
from benchmarks.machine import KINDS, measured, servers
from benchmarks.processes import headrace

SETTLING_SECONDS = 15
IDLE_SECONDS = 30


def measure(rounds: int, seconds: float) -> None:
    """Print CPU share and memory of all processes, the database's included; shared pages count once."""
    shares: list[dict[str, float]] = []
    sizes = []
    for _ in range(rounds):
        with headrace() as (_, process):
            time.sleep(SETTLING_SECONDS)
            with measured(process) as cpu:
                time.sleep(IDLE_SECONDS)
            shares.append({kind: cpu[kind] / IDLE_SECONDS * 100 for kind in KINDS})
            sizes.append(sum(_megabytes(each) for each in (psutil.Process(process.pid), *servers())))
    show("o", "idle, % of a core", [sum(each.values()) for each in shares], goal=3, at_most=True)
    for kind in KINDS:
        show("", f"  of these {kind}", [each[kind] for each in shares])
    show("o", "memory of all processes, MiB", sizes, goal=700, at_most=True)


def _megabytes(first: psutil.Process) -> float:
    """Return the proportional set size of a process and its descendants."""
    processes = [first, *first.children(recursive=True)]
    return float(sum(each.memory_full_info().pss for each in processes)) / 2**20
