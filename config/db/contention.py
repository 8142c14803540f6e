"""Make room for other work on the database: bulk work pauses while others are busy."""

import time
from typing import Final

from config.db.statements import fetch_one

_MOST_SECONDS: Final = 2.0


def pause_for_others(seconds: float) -> None:
    """Sleep about as long as the last batch took, `seconds`, if another connection is at work at this moment.

    A sample taken after each batch finds others in proportion to how busy they are.
    """
    if others_are_active():
        time.sleep(min(seconds, _MOST_SECONDS))


def others_are_active() -> bool:
    """Tell whether another client of this database runs a statement now."""
    row = fetch_one(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid())"
    )
    return bool(row[0])
