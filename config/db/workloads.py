"""Set the kind of work, and so the database time limits, of a process or thread."""

from django.db import connections

from config.db.timeouts import Work


def use_in_process(work: Work) -> None:
    """Set the kind of work of the connections that this process makes from now on."""
    connections.settings["default"]["WORK"] = work


def use_in_thread(work: Work) -> None:
    """Set the kind of work of the connections that this thread makes from now on."""
    connections["default"].work = work  # type: ignore[attr-defined]  # of our backend
