"""How long the database may take, by the kind of work: to be reached, to grant a lock, to run a statement.

The limits are part of what a connection is opened with, so the server has them without being told, and
`SET … TO DEFAULT` returns to them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Work = Literal["web", "ingest", "effects", "background", "command"]

_NETWORK: Mapping[str, int] = {
    # A peer that is gone without a word is noticed within a minute, also by who only listens.
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
    """How much longer than a statement may take the client waits for a server that should have ended it itself."""

    @property
    def silence_seconds(self) -> float | None:
        """After which a server that has not answered is taken for dead; None: never."""
        return self.statement_seconds + self.grace_seconds if self.statement_seconds else None

    @property
    def options(self) -> str:
        """The limits as libpq passes them to the server."""
        limits = {
            "lock_timeout": self.lock_seconds,
            "statement_timeout": self.statement_seconds,
            "idle_in_transaction_session_timeout": self.idle_transaction_seconds,
        }
        return " ".join(f"-c {name}={milliseconds(seconds)}" for name, seconds in limits.items())

    def bounded(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return a connection's parameters with the limits; what they say themselves stands."""
        options = f"{self.options} {parameters.get('options', '')}".strip()
        connect = {"connect_timeout": math.ceil(self.connect_seconds)}
        return {**_NETWORK, **connect, **parameters, "options": options}


_DEFAULTS: Mapping[Work, Timeouts] = {
    "web": Timeouts(5, 5, 15, 15),
    "ingest": Timeouts(5, 5, 10, 15),
    "effects": Timeouts(10, 20, 30, 60),
    "background": Timeouts(10, 60, 300, 300),
    "command": Timeouts(10, 60, 0, 0),
}


_LOCK_SHARE = 0.9
"""Of a statement's time a lock is waited for at most: else who waited in vain would look like a slow statement."""


def from_environment(read: Callable[..., float]) -> dict[Work, Timeouts]:
    """Return the limits; `read(name, default=…)` gives a number of the environment."""

    def limits(work: Work, default: Timeouts) -> Timeouts:
        name = work.upper()
        statement = read(f"{name}_STATEMENT_TIMEOUT_SECONDS", default=default.statement_seconds)
        lock = read(f"{name}_LOCK_TIMEOUT_SECONDS", default=default.lock_seconds)
        if statement:
            lock = min(lock or math.inf, statement * _LOCK_SHARE)
        return Timeouts(
            connect_seconds=read(f"{name}_CONNECT_TIMEOUT_SECONDS", default=default.connect_seconds),
            lock_seconds=lock,
            statement_seconds=statement,
            idle_transaction_seconds=read(
                f"{name}_IDLE_TRANSACTION_SECONDS", default=default.idle_transaction_seconds
            ),
            grace_seconds=read("SILENCE_GRACE_SECONDS", default=default.grace_seconds),
        )

    return {work: limits(work, default) for work, default in _DEFAULTS.items()}


def milliseconds(seconds: float) -> int:
    """Return seconds as the server counts them: 0 is no limit, and no limit is none."""
    return max(int(seconds * 1000), 1) if seconds else 0
