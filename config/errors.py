"""The base class of domain errors: a code and facts, never an HTTP status."""

from typing import ClassVar


class DomainError(Exception):
    """An error with a stable `code`, which each wire format maps to a status and a body."""

    code: ClassVar[str] = "error"
    message: str

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def sentence(self) -> str:
        """Return the message as a sentence, with a full stop."""
        return f"{self.message.rstrip('.')}."


class TryAgain(DomainError):
    """Concurrent changes of the same rows, again and again; nothing was done."""

    code = "unavailable"

    def __init__(self) -> None:
        super().__init__("Others are changing the same; try again")


class Overloaded(DomainError):
    """Too many requests wait; nothing was done."""

    code = "unavailable"

    def __init__(self) -> None:
        super().__init__("Too many requests are waiting; try again")
