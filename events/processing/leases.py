"""Leases: at most one wake-up of a workspace is on its way, however many processes ask for one.

A lease names who sees to the work: at first a message that is on its way, then the runner that it came to. Who has
committed work looks for the lease afterwards, and publishes a message only where none stands. A runner that has found
nothing gives its lease back, and looks once more before it goes: what was committed by somebody who still saw the
lease, it finds now. A lease that is lost costs a message too many; one whose holder is gone expires, and the sweep
does the work meanwhile.

All time is the database's, so that the clocks of machines do not matter. No commit waits for the disk.
"""

from typing import Any, Final
from uuid import UUID

from config import ids
from config.db.statements import fetch_one

MESSAGE_SECONDS: Final = 60
"""After which a message that nobody took is no longer waited for; it expires by then."""
RUNNER_SECONDS: Final = 10
"""After which a runner that has not renewed its lease is gone."""


def acquire_message_lease(workspace_id: UUID, task: str) -> bool:
    """Acquire the lease for a wake-up message. Returns whether it was free; the message must then be sent.

    Outside a transaction: who asks must have committed the work before, and others must see the lease at once.
    """
    return _is_done(
        _LEASE.format(
            holder="NULL",
            wanted="WHERE NOT EXISTS (SELECT FROM events_lease"
            " WHERE workspace_id = %(workspace)s::uuid AND task = %(task)s::varchar AND expires_at > now())",
            unless="",
        ),
        workspace=workspace_id,
        task=task,
        seconds=MESSAGE_SECONDS,
        id=ids.uuid7(),
    )


def acquire_runner_lease(workspace_id: UUID, task: str, holder: UUID) -> bool:
    """Acquire or renew the lease for a runner. Returns false where another runner has it."""
    return _is_done(
        _LEASE.format(
            holder="%(holder)s::uuid", wanted="", unless="OR l.holder IS NULL OR l.holder = %(holder)s::uuid"
        ),
        workspace=workspace_id,
        task=task,
        holder=holder,
        seconds=RUNNER_SECONDS,
        id=ids.uuid7(),
    )


def hand_over_lease(workspace_id: UUID, task: str, holder: UUID) -> bool:
    """Hand the lease over to a message that is sent next. Returns false where the lease is another's by now."""
    return _is_done(
        "UPDATE events_lease SET holder = NULL, expires_at = now() + make_interval(secs => %(seconds)s::int)"
        f" FROM {_SOON} WHERE workspace_id = %(workspace)s::uuid AND task = %(task)s::varchar AND holder = %(holder)s"
        " RETURNING true",
        workspace=workspace_id,
        task=task,
        holder=holder,
        seconds=MESSAGE_SECONDS,
    )


def release_lease(workspace_id: UUID, task: str, holder: UUID | None = None) -> None:
    """Release the lease: of the runner `holder`, or of a message that reached its task or could not be sent."""
    _is_done(
        f"DELETE FROM events_lease USING {_SOON} WHERE workspace_id = %(workspace)s::uuid"
        " AND task = %(task)s::varchar AND holder IS NOT DISTINCT FROM %(holder)s::uuid RETURNING true",
        workspace=workspace_id,
        task=task,
        holder=holder,
    )


# What is lost by a crash is worth no wait for the disk.
_SOON: Final = "set_config('synchronous_commit', 'off', true) AS soon"
_LEASE: Final = (
    "INSERT INTO events_lease AS l (id, workspace_id, task, holder, expires_at)"
    " SELECT %(id)s::uuid, %(workspace)s::uuid, %(task)s::varchar, {holder},"
    " now() + make_interval(secs => %(seconds)s::int)"
    f" FROM {_SOON} {{wanted}}"
    " ON CONFLICT (workspace_id, task) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at"
    " WHERE l.expires_at <= now() {unless} RETURNING true"
)


def _is_done(statement: str, **parameters: Any) -> bool:
    return fetch_one(statement, parameters) is not None
