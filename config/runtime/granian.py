"""The web server: `python -m config.runtime.granian …` loads the site once and forks granian's workers.

Workers share the loaded code in memory and restart at once. Options are granian's, as arguments or variables,
with the defaults below.
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
"""First argument to load early: serving begins when standard input ends."""
APPLICATION = "config.wsgi:application"
OPTIONS = {
    "HEADRACE_WEB": "1",
    "GRANIAN_INTERFACE": "wsgi",
    "GRANIAN_HTTP": "1",
    "GRANIAN_WEBSOCKETS": "false",
    "GRANIAN_LOG_LEVEL": "error",  # hides its warning about many threads
    "GRANIAN_RESPAWN_FAILED_WORKERS": "true",
    "GRANIAN_RESPAWN_INTERVAL": "0.5",
    # Or a body that never arrives would keep the server from stopping.
    "GRANIAN_WORKERS_KILL_TIMEOUT": str(env("GRANIAN_WORKERS_KILL_TIMEOUT")),
}


def main() -> None:
    """Load the site, wait for standard input with `--wait`, and serve."""
    is_to_wait = sys.argv[1:2] == [WAIT]
    if is_to_wait:
        del sys.argv[1]
    for name, value in OPTIONS.items():
        os.environ.setdefault(name, value)
    gc.disable()  # loading makes many objects and hardly any garbage
    with report_on_one_line():
        importlib.import_module("config.wsgi")
    gc.enable()
    os.environ.setdefault("GRANIAN_BLOCKING_THREADS", str(settings.SERVER_THREADS))
    # A worker ends with this process.
    os.register_at_fork(after_in_child=lambda: exit_with_parent(signal.SIGTERM))
    if is_to_wait:
        sys.stdin.read()
    require_layout()
    sys.argv.append(APPLICATION)
    entrypoint()  # type: ignore[no-untyped-call]  # granian has no types


if __name__ == "__main__":
    main()
