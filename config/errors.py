"""The root of every refusal that Headrace's core can give: a code and facts, never an HTTP status."""

from typing import ClassVar


class DomainError(Exception):
    """A refusal with a stable `code`; each wire format's table turns it into a status and a body."""

    code: ClassVar[str] = "error"
    message: str

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    @property
    def sentence(self) -> str:
        """The message as a sentence, with one full stop."""
        return f"{self.message.rstrip('.')}."


class TryAgain(DomainError):
    """Others changed the same things at the same time, again and again; nothing was done."""

    code = "unavailable"

    def __init__(self) -> None:
        super().__init__("Others are changing the same; try again")


class Overloaded(DomainError):
    """More requests wait than can be served soon; nothing was done."""

    code = "unavailable"

    def __init__(self) -> None:
        super().__init__("Too many requests are waiting; try again")
