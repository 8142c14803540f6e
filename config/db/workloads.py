"""What the connections of a process, or of one of its threads, are for."""

from django.db import connections

from config.db.timeouts import Work


def use_in_process(work: Work) -> None:
    """Say what the connections that this process makes from now on are for."""
    connections.settings["default"]["WORK"] = work


def use_in_thread(work: Work) -> None:
    """Say what the connections that this thread makes from now on are for."""
    connections["default"].work = work  # type: ignore[attr-defined]  # of our backend
