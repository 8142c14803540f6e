"""`make bench`: run all benchmarks in one run on one machine.

Only ratios can be compared between machines. Medians of `--rounds` rounds.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks import batches, beside, campaigns, idle, imports, pages, segments, sends, way_in
from benchmarks.processes import manage, set_up

MEASUREMENTS = {
    "s": sends.measure,
    "w": way_in.measure,
    "p": pages.measure,
    "a": batches.measure,
    "t": imports.measure,
    "u": beside.measure,
    "o": idle.measure,
    "f": segments.runner,
    "g": segments.many,
    "h": segments.history,
    "j": segments.visible,
    "n": segments.lapses,
    "k": campaigns.runner,
    "l": campaigns.ready,
    "m": campaigns.deliveries,
    "i": segments.building,
}


def main() -> None:
    """Run every benchmark and print its figures and goals."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each load")
    parser.add_argument("--only", default="", help="letters of the benchmarks to run, such as sa")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="headrace-bench-", ignore_cleanup_errors=True) as home:
        os.environ.update(HEADRACE_HOME=home, DJANGO_SETTINGS_MODULE="benchmarks.plain.settings")
        if not options.only or "e" in options.only:
            lists(home)
        wanted = [letter for letter in MEASUREMENTS if not options.only or letter in options.only]
        if wanted:
            manage("migrate", "-v0")
            manage("migrate", "-v0", "--run-syncdb")
            set_up()
        for letter in wanted:
            MEASUREMENTS[letter](options.rounds, options.seconds)


def lists(home: str) -> None:
    """(e): lists of a small and a big workspace, in a temporary database."""
    environment = {
        **os.environ,
        "HEADRACE_HOME": f"{home}/lists",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    print("(e) pages of lists, 10,000 events and contacts against 10,000,000 and 2,000,000", flush=True)
    subprocess.run([sys.executable, "-m", "benchmarks.lists"], env=environment, check=True)


if __name__ == "__main__":
    os.chdir(Path(__file__).parent.parent)
    main()
