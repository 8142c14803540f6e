"""Notify beat of tasks that fall due before it would check again.

Beat reads the next due times in one statement, and sleeps until the earliest. Where a notification is lost,
with a killed process or behind a pooler without LISTEN, beat is at most `LOOK_SECONDS` late.
"""

from datetime import datetime, timedelta
from functools import partial

from django.db import transaction

from config import clock
from config.db.statements import execute

CHANNEL = "headrace_schedule"
LOOK_SECONDS = 5.0
"""Longest time between beat's checks."""
LONGEST_TRANSACTION = timedelta(minutes=1)
"""Later due times need no notification: a check finds them, however long the transaction takes."""

# By schedule entry, the due time that this process last sent.
_notified: dict[str, datetime] = {}


def notify_beat(name: str, due_at: datetime) -> None:
    """Notify beat, after the commit, of the time at which an entry of `settings.SCHEDULE` falls due."""
    if due_at - clock.now() <= LONGEST_TRANSACTION:
        transaction.on_commit(partial(_notify, name, due_at), robust=True)


def _notify(name: str, due_at: datetime) -> None:
    now = clock.now()
    if due_at - now > timedelta(seconds=LOOK_SECONDS):
        return
    # At a time it knows beat checks, and finds what is committed by then.
    if (known := _notified.get(name)) is not None and now < known <= due_at:
        return
    # In a transaction of its own: commits that notify serialise; no wait for the disk.
    execute(
        "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)",
        [CHANNEL, f"{name} {due_at.isoformat()}"],
    )
    _notified[name] = due_at
