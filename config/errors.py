"""Base classes of domain errors: a kind, a code, a message and facts, never an HTTP status."""

from enum import Enum, auto
from typing import Any, ClassVar


class ErrorKind(Enum):
    """What sort of refusal an error is; `workspaces.api.errors` gives each its HTTP status."""

    INVALID = auto()
    UNAUTHENTICATED = auto()
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    CONFLICT = auto()
    UNPROCESSABLE = auto()
    UNAVAILABLE = auto()


class DomainError(Exception):
    """An error with a stable `code`; each wire format maps the code, or the kind, to a status and a body."""

    error_kind: ClassVar[ErrorKind] = ErrorKind.INVALID
    code: ClassVar[str] = "error"
    message: str = ""

    def __init__(self, message: str = "") -> None:
        self.message = message or self.message
        super().__init__(self.message)

    def __reduce__(self) -> Any:
        """Pickle it as it is: constructors take facts, and are not to be called with the message."""
        return _restored, (type(self), self.args, self.__dict__)

    @property
    def sentence(self) -> str:
        """Return the message as a sentence, with a full stop."""
        return f"{self.message.rstrip('.')}."


def _restored(kind: type[DomainError], args: tuple[Any, ...], facts: dict[str, Any]) -> DomainError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(facts)
    return error


class InvalidValue(DomainError):
    """A value of the named field is invalid."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class UnauthenticatedError(DomainError):
    """The credentials are not valid."""

    error_kind = ErrorKind.UNAUTHENTICATED


class ForbiddenError(DomainError):
    """The credential is valid, but this is not allowed."""

    error_kind = ErrorKind.FORBIDDEN


class NotFoundError(DomainError):
    """The workspace has no such thing."""

    error_kind = ErrorKind.NOT_FOUND


class ConflictError(DomainError):
    """What is there does not allow the change."""

    error_kind = ErrorKind.CONFLICT


class UnprocessableError(DomainError):
    """The request is sound, but cannot be carried out."""

    error_kind = ErrorKind.UNPROCESSABLE


class UnavailableError(DomainError):
    """It cannot be done now; nothing was done, and the same request may succeed later."""

    error_kind = ErrorKind.UNAVAILABLE
    code = "unavailable"


class TryAgain(UnavailableError):
    """Concurrent changes of the same rows, again and again."""

    message = "Others are changing the same; try again"


class Overloaded(UnavailableError):
    """Too many requests wait."""

    message = "Too many requests are waiting; try again"
