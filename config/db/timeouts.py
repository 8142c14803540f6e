"""Time limits of the database by kind of work: to connect, to wait for a lock, to run a statement.

They are parameters that a connection is opened with, so `SET … TO DEFAULT` returns to them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from config.environment import env

Work = Literal["web", "ingest", "effects", "background", "command"]

_NETWORK: Mapping[str, int] = {
    # A vanished peer is noticed within a minute, also by a connection that only listens.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # milliseconds
}


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The limits of one kind of work, in seconds; 0: none."""

    connect_seconds: float
    lock_seconds: float
    statement_seconds: float
    idle_transaction_seconds: float
    grace_seconds: float = 5.0
    """How much longer than a statement's limit the client waits for a server that does not answer."""

    @property
    def silence_seconds(self) -> float | None:
        """Return the seconds after which a silent server is given up; None: never."""
        return self.statement_seconds + self.grace_seconds if self.statement_seconds else None

    @property
    def options(self) -> str:
        """Return the limits as libpq passes them to the server."""
        limits = {
            "lock_timeout": self.lock_seconds,
            "statement_timeout": self.statement_seconds,
            "idle_in_transaction_session_timeout": self.idle_transaction_seconds,
        }
        return " ".join(f"-c {name}={milliseconds(seconds)}" for name, seconds in limits.items())

    def bounded(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return connection parameters with the limits added; what they set themselves stands."""
        options = f"{self.options} {parameters.get('options', '')}".strip()
        connect = {"connect_timeout": math.ceil(self.connect_seconds)}
        return {**_NETWORK, **connect, **parameters, "options": options}


_LOCK_SHARE = 0.9
"""Share of a statement's limit that waiting for a lock may take: or it would look like a slow statement."""


def timeouts_from_environment() -> dict[Work, Timeouts]:
    """Return the limits of each kind of work, read from the environment."""
    return {work: _read_timeouts(work) for work in get_args(Work)}


def _read_timeouts(work: Work) -> Timeouts:
    kind = work.upper()
    statement = env(f"{kind}_STATEMENT_TIMEOUT_SECONDS")
    lock = env(f"{kind}_LOCK_TIMEOUT_SECONDS")
    if statement:
        lock = min(lock or math.inf, statement * _LOCK_SHARE)
    return Timeouts(
        connect_seconds=env(f"{kind}_CONNECT_TIMEOUT_SECONDS"),
        lock_seconds=lock,
        statement_seconds=statement,
        idle_transaction_seconds=env(f"{kind}_IDLE_TRANSACTION_SECONDS"),
        grace_seconds=env("SILENCE_GRACE_SECONDS"),
    )


def milliseconds(seconds: float) -> int:
    """Return whole milliseconds, at least 1 unless `seconds` is 0, which means no limit."""
    return max(int(seconds * 1000), 1) if seconds else 0
