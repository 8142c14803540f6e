"""What this format refuses, and what each refusal looks like.

The clients give up on a 4xx, but for 408 and 429; they retry a 5xx, and wait as long as Retry-After says.
"""

from collections.abc import Sequence
from typing import Any

from config.errors import DomainError, ErrorKind, ForbiddenError
from dialects.body_checks import FieldProblem
from workspaces.api.errors import ErrorTable, Refusal


class InvalidCall(DomainError):
    """A call breaks rules of this format; `problems` lists every breach."""

    code = "invalid_call"

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("; ".join(f"{problem.field} {problem.message}" for problem in problems))
        self.problems = list(problems)


class CallTooLarge(DomainError):
    """A call, or a batch, has more bytes than the vendor's API takes."""

    code = "body_too_large"

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"{what} may have at most {limit} bytes")


class NotAPageKey(ForbiddenError):
    """A page asks for the settings of a key that may do more than record events."""

    code = "not_a_page_key"

    def __init__(self) -> None:
        super().__init__("This key may do more than record events: no page may have it.")


def _body(refusal: Refusal) -> dict[str, Any]:
    return {"success": False, "code": refusal.code, "message": refusal.message}


SEGMENT_ERRORS = ErrorTable(
    _body,
    statuses={
        ErrorKind.CONFLICT: 400,
        "idempotency_conflict": 409,
        "body_too_large": 413,
        # Another merge of these contacts is under way: the same call succeeds when that is done.
        "merge_under_way": 503,
    },
    messages={"unauthenticated": "The write key is missing or invalid."},
)
