"""Sure Send's refusals and their wire format."""

from typing import Any

from config.errors import DomainError, ErrorKind
from dialects.body_checks import FieldProblem
from workspaces.api.errors import ErrorTable, Refusal


class InvalidBody(DomainError):
    """The body's shape is wrong; `details` has every field that is."""

    code = "invalid_body"

    def __init__(self, problems: list[FieldProblem]) -> None:
        super().__init__(_sentence(problems[0]))
        self.details: dict[str, list[str]] = {}
        for problem in problems:
            self.details.setdefault(problem.field, []).append(problem.message)


def _sentence(problem: FieldProblem) -> str:
    # A message that names its fields itself stands alone (R3).
    is_whole = problem.code == "required_choice"
    return problem.message if is_whole else f"{problem.field} {problem.message}"


# The field that a refusal of the core is about; the others are about the request as a whole, "base" in Rails.
_FIELD_OF_CODE = {
    "invalid_event_name": "type",
    "invalid_event_time": "occurredAt",
    # Nearly all that an event can hold is in there.
    "too_many_properties": "metadata",
    "invalid_identifier": "person",
    "identifier_taken": "person",
    "no_identity": "person",
}


def _details(refusal: Refusal) -> dict[str, list[str]]:
    if refusal.details:
        return dict(refusal.details)
    if refusal.code == "invalid_field_value":
        return {f"person.{getattr(refusal.error, 'field', '')}": [refusal.message]}
    return {_FIELD_OF_CODE.get(refusal.code, "base"): [refusal.message]}


def _body(refusal: Refusal) -> dict[str, Any]:
    body: dict[str, Any] = {"error": refusal.message}
    if refusal.status == 422:
        body["errors"] = _details(refusal)
    return body


error_table = ErrorTable(
    _body,
    statuses={ErrorKind.INVALID: 422, ErrorKind.CONFLICT: 422, "idempotency_conflict": 409},
    messages={"contact_not_found": "Person not found"},
)
