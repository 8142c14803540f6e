"""Channels: e-mail, webhooks and Telegram. Each has `send(message, settings) -> str`: the provider's id, or "".

A channel sends and raises one of the errors below; it reads and writes no rows but the local inbox.
"""

from __future__ import annotations

from enum import StrEnum


class Bounce(StrEnum):
    """What a refusal says about the address."""

    HARD = "hard"
    """The address will never accept a message."""
    SOFT = "soft"
    """It accepts nothing now: a full mailbox, for example."""
    REFUSED = "refused"
    """Nothing about the address: message, sender or route were refused."""


class NotSent(Exception):  # not an error of ours
    """The message surely did not leave. `retry_after`: seconds that the receiver asked for.

    `bounce`: what that says about the address, once no further attempt is made.
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
    """The address does not accept the message."""

    def __init__(self, message: str, bounce: Bounce) -> None:
        super().__init__(message, is_permanent=True, bounce=bounce)


class MaybeSent(Exception):  # not an error of ours
    """No answer came: the message may have left or not."""


RESERVED_HEADERS = ("webhook-", "host", "content-", "transfer-encoding", "connection")
"""Prefix of headers that no campaign may set."""
