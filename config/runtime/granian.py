"""`python -m config.runtime.granian …`: granian as Headrace needs it, with the site loaded once, before workers are forked.

A worker that falls is back at once, and what they all have loaded is in memory once. Options are granian's
own, as arguments or in its variables; what is not given is as below.
"""

import gc
import importlib
import os
import signal
import sys

from django.conf import settings
from granian.cli import entrypoint

from config.environment import env
from config.runtime.child_processes import exit_with_parent
from config.runtime.layouts import require_layout
from config.runtime.startup_errors import report_on_one_line

WAIT = "--wait"
"""The first argument of whoever starts it early: it serves nothing until its standard input ends."""
APPLICATION = "config.wsgi:application"
OPTIONS = {
    "HEADRACE_WEB": "1",
    "GRANIAN_INTERFACE": "wsgi",
    "GRANIAN_HTTP": "1",
    "GRANIAN_WEBSOCKETS": "false",
    "GRANIAN_LOG_LEVEL": "error",  # a warning says that the threads are many: see config.http.bodies
    "GRANIAN_RESPAWN_FAILED_WORKERS": "true",
    "GRANIAN_RESPAWN_INTERVAL": "0.5",
    # Without it a body that never comes holds up the end for ever.
    "GRANIAN_WORKERS_KILL_TIMEOUT": str(env("GRANIAN_WORKERS_KILL_TIMEOUT")),
}


def main() -> None:
    """Load the site, wait if that is wanted, and serve."""
    is_to_wait = sys.argv[1:2] == [WAIT]
    if is_to_wait:
        del sys.argv[1]
    for name, value in OPTIONS.items():
        os.environ.setdefault(name, value)
    gc.disable()  # loading makes hardly any garbage, and much to look through
    with report_on_one_line():
        importlib.import_module("config.wsgi")
    gc.enable()
    os.environ.setdefault("GRANIAN_BLOCKING_THREADS", str(settings.SERVER_THREADS))
    # A worker's parent is this process, whatever the parent of this one was told.
    os.register_at_fork(after_in_child=lambda: exit_with_parent(signal.SIGTERM))
    if is_to_wait:
        sys.stdin.read()
    require_layout()
    sys.argv.append(APPLICATION)
    entrypoint()  # type: ignore[no-untyped-call]  # granian has no types


if __name__ == "__main__":
    main()
