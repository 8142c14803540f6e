"""The moments at which tasks fall due: beat asks for the next ones in one statement, and sleeps until the earliest.

Whoever commits a moment that comes before beat would look again says so. If that word is lost, with a killed
process or behind a pooler that knows no LISTEN, beat is `LOOK_SECONDS` late and no more.
"""

from datetime import datetime, timedelta
from functools import partial

from django.db import connection, transaction

from config import clock

CHANNEL = "headrace_schedule"
LOOK_SECONDS = 5.0
"""After which beat looks again in any case."""
LONGEST_TRANSACTION = timedelta(minutes=1)
"""A moment further ahead than this is found by a look, however long its transaction takes to commit."""

# By schedule, the moment that this process last told of.
_told: dict[str, datetime] = {}


def notify_beat(name: str, due_at: datetime) -> None:
    """Tell beat, after the commit, that something of `settings.SCHEDULE` falls due at a moment."""
    if due_at - clock.now() <= LONGEST_TRANSACTION:
        transaction.on_commit(partial(_notify, name, due_at), robust=True)


def _notify(name: str, due_at: datetime) -> None:
    now = clock.now()
    if due_at - now > timedelta(seconds=LOOK_SECONDS):
        return
    # At a moment that it knows of, beat looks and finds what has been committed by then.
    if (known := _told.get(name)) is not None and now < known <= due_at:
        return
    with connection.cursor() as cursor:
        # By itself, for commits that notify wait for one another; and it need not wait for the disk.
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)",
            [CHANNEL, f"{name} {due_at.isoformat()}"],
        )
    _told[name] = due_at
