"""The ways by which messages leave. Each has `send(message, settings) -> str`: the provider's id, or "".

What went wrong is one of these; nothing here reads or writes our rows but the local inbox.
"""


class NotSent(Exception):  # not an error of ours
    """It surely did not leave. `retry_after`: seconds that the receiver asked for."""

    def __init__(self, message: str, *, is_permanent: bool, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent
        self.retry_after = retry_after


class Bounced(NotSent):
    """The address does not take it; `is_dead`: nor will it take any other."""

    def __init__(self, message: str, *, is_dead: bool) -> None:
        super().__init__(message, is_permanent=True)
        self.is_dead = is_dead


class MaybeSent(Exception):  # not an error of ours
    """The answer did not come: it may have left or not."""
