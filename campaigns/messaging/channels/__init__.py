"""The ways by which messages leave. Each has `send(message, settings) -> str`: the provider's id, or "".

What went wrong is one of these; nothing here reads or writes our rows but the local inbox.
"""

from __future__ import annotations

from enum import StrEnum


class Bounce(StrEnum):
    """What a refusal says of the address."""

    HARD = "hard"
    """It will never take anything."""
    SOFT = "soft"
    """It takes nothing now: its mailbox is full, for instance."""
    REFUSED = "refused"
    """Nothing: the message, its sender or its way was not to somebody's liking."""


class NotSent(Exception):  # not an error of ours
    """It surely did not leave. `retry_after`: seconds that the receiver asked for.

    `bounce`: what it says of the address, once no further attempt is made.
    """

    def __init__(
        self,
        message: str,
        *,
        is_permanent: bool,
        retry_after: float | None = None,
        bounce: Bounce = Bounce.REFUSED,
    ) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent
        self.retry_after = retry_after
        self.bounce = bounce


class Bounced(NotSent):
    """The address does not take it."""

    def __init__(self, message: str, bounce: Bounce) -> None:
        super().__init__(message, is_permanent=True, bounce=bounce)


class MaybeSent(Exception):  # not an error of ours
    """The answer did not come: it may have left or not."""


RESERVED_HEADERS = ("webhook-", "host", "content-", "transfer-encoding", "connection")
"""What headers begin with that no campaign sets."""
