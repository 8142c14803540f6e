"""The one endpoint for events."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema_view
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.views import APIView

from dialects.checks import Problem
from dialects.omnisend.errors import InvalidTrack, error_table
from dialects.omnisend.openapi import TRACK
from dialects.omnisend.shapes import read_track
from events.api.ingest import IngestView, json_answer
from events.models import EventProperty
from events.stream.coercion import accepts, learned_type
from events.stream.group_commit import Submission
from events.stream.idempotency import Answer
from events.stream.types import Outcome, SchemaPolicy
from workspaces.access import Credential
from workspaces.api.base import ErrorTableMixin, object_body
from workspaces.authentication.schemes import BearerAuthentication
from workspaces.models import Workspace
from workspaces.throttles import ThrottleState


@extend_schema_view(post=TRACK)
class TrackView(IngestView):
    """Records an event, and creates or updates its contact."""

    authentication_classes = (BearerAuthentication,)
    error_table = error_table
    scopes = {"POST": "events:write"}
    vendor_rate = "400/minute"

    def throttle_identity(self, credential: Credential) -> str:
        """Return the workspace: the documented limit is per brand."""
        return f"workspace:{credential.workspace_id}"

    def rate_headers(self, state: ThrottleState) -> dict[str, str]:
        """Return none: this format tells the wait in the body of a 429."""
        return {}

    def submission(self, request: Request, **kwargs: Any) -> Submission:
        """Record the event; the answer is 202 and empty."""
        body = object_body(request)
        try:
            incoming = read_track(body)
        except InvalidTrack as error:
            mismatches = _type_mismatches(self.workspace, body, error.problems)
            raise InvalidTrack([*error.problems, *mismatches]) from None
        return self.submission_of(request, [incoming], SchemaPolicy.LEARNED, _accepted)


class UnknownRouteView(ErrorTableMixin, APIView):
    """Answers what this API does not have, in its own format."""

    error_table = error_table
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse every method."""
        raise NotFound


def _accepted(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    outcomes[0].recorded()
    return json_answer(202, None)


def _type_mismatches(workspace: Workspace, body: dict[str, Any], found: list[Problem]) -> list[Problem]:
    """Return what the core would refuse as well, so that one answer lists every problem."""
    name, properties = body.get("eventName"), body.get("properties")
    if not isinstance(name, str) or not isinstance(properties, dict):
        return []
    types = dict(
        EventProperty.objects.filter(
            workspace=workspace,
            definition__name=name.strip(),
            definition__deleted_at=None,
            is_locked=True,
        ).values_list("name", "type")
    )
    reported = {problem.field for problem in found}
    return [
        Problem(f"properties.{key}", "type_mismatch", f"must be of the type {types[key]}")
        for key, value in properties.items()
        if key in types
        and f"properties.{key}" not in reported
        and learned_type(value) is not None
        and not accepts(value, types[key])
    ]
