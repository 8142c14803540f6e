"""`python -m config.granian …`: granian, with the site loaded once, before its workers are forked.

A worker that falls is back at once, and what they all have loaded is in memory once. It serves nothing until its
standard input ends: whoever starts it early, to have it loaded meanwhile, says so when the database is prepared.
"""

import gc
import importlib
import os
import signal
import sys

from granian.cli import entrypoint

from config.orphans import die_with_parent


def main() -> None:
    """Load the site, wait, and serve."""
    gc.disable()  # loading makes hardly any garbage, and much to look through
    importlib.import_module("config.wsgi")
    gc.enable()
    # A worker's parent is this process, whatever the parent of this one was told.
    os.register_at_fork(after_in_child=lambda: die_with_parent(signal.SIGTERM))
    sys.stdin.read()
    entrypoint()  # type: ignore[no-untyped-call]  # granian has no types


if __name__ == "__main__":
    main()
