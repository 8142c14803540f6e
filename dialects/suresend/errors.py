"""What this format refuses, and what each refusal looks like."""

from typing import Any

from config.errors import DomainError
from dialects.body_checks import Problem as FieldProblem
from workspaces.api.errors import ErrorTable, Problem


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


def _details(problem: Problem) -> dict[str, list[str]]:
    if problem.details:
        return dict(problem.details)
    if problem.code == "invalid_field_value":
        return {f"person.{getattr(problem.error, 'field', '')}": [problem.message]}
    return {_FIELD_OF_CODE.get(problem.code, "base"): [problem.message]}


def _body(problem: Problem) -> dict[str, Any]:
    body: dict[str, Any] = {"error": problem.message}
    if problem.status == 422:
        body["errors"] = _details(problem)
    return body


error_table = ErrorTable(
    _body,
    statuses={
        "malformed_body": 422,
        "not_an_object": 422,
        "bad_request": 422,
        "contact_not_found": 404,
        "company_not_found": 404,
        "idempotency_conflict": 409,
    },
    messages={
        "unauthenticated": "Unauthorized",
        "contact_not_found": "Person not found",
        "company_not_found": "Company not found",
    },
    default_status=422,
)
