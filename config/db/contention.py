"""Make room for other work on the database: bulk work pauses while others are busy."""

import time
from typing import Final

from config.db.statements import fetch_one

_MOST_SECONDS: Final = 2.0


def pause_for_others(seconds: float, *, besides: str = "") -> None:
    """Sleep about as long as the last batch took, `seconds`, if another connection is at work at this moment.

    A sample taken after each batch finds others in proportion to how busy they are. `besides`: what the
    application names begin with of those that do the same work, and are no others.
    """
    if others_are_active(besides):
        time.sleep(min(seconds, _MOST_SECONDS))


def others_are_active(besides: str = "") -> bool:
    """Tell whether another client of this database runs a statement now."""
    row = fetch_one(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        " AND (%s = '' OR NOT starts_with(application_name, %s)))",
        [besides, besides],
    )
    return bool(row[0])


def holds_up(application_name: str) -> bool:
    """Tell whether a connection of an application waits for what this one holds, be it by way of a third."""
    row = fetch_one(
        """
        WITH RECURSIVE blocker (pid) AS (
            SELECT unnest(pg_blocking_pids(pid)) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = %s AND wait_event_type = 'Lock'
            UNION
            SELECT unnest(pg_blocking_pids(pid)) FROM blocker
        )
        SELECT pg_backend_pid() IN (SELECT pid FROM blocker)
        """,
        [application_name],
    )
    return bool(row[0])
