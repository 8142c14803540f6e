"""Omnisend's `track`: records an event, and creates or updates its contact."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request

from dialects.body_checks import FieldProblem
from dialects.omnisend.base import PROBLEM, OmnisendIngest
from dialects.omnisend.errors import OMNISEND_ERRORS, InvalidTrack
from dialects.omnisend.events import accepted
from dialects.omnisend.serializers import BODY_SCHEMA, OmnisendProblemSerializer, parse_track
from events.api.ingest import IngestViewSet
from events.models import Event, EventProperty
from events.stream.coercion import accepts, learned_type
from events.stream.group_commit import Submission
from events.stream.types import SchemaPolicy
from workspaces.api.base import object_body
from workspaces.api.openapi import component


class TrackViewSet(OmnisendIngest, IngestViewSet):
    """Events that are tracked."""

    queryset = Event.objects.none()
    error_table = OMNISEND_ERRORS
    scopes: ClassVar[Mapping[str, str]] = {"POST": "events:write"}

    @extend_schema(
        tags=["Omnisend"],
        summary="Track an event",
        parameters=[OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER)],
        request=component("OmnisendTrack", BODY_SCHEMA),
        responses={
            202: None,
            **{
                (status, PROBLEM): OmnisendProblemSerializer
                for status in (400, 401, 403, 404, 409, 413, 415, 429)
            },
        },
    )
    @action(detail=False, methods=["post"], url_path="track", url_name="omnisend-track")
    def track(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Record an event, learn its schema, and create or update its contact: all or nothing."""
        return self.record(request, self._submission)

    def _submission(self, request: Request) -> Submission:
        """Return the event of the body, to be answered with an empty 202."""
        body = object_body(request)
        try:
            incoming = parse_track(body)
        except InvalidTrack as error:
            mismatches = _type_mismatches(self.workspace.id, body, error.problems)
            raise InvalidTrack([*error.problems, *mismatches]) from None
        return self.submission_of(request, [incoming], SchemaPolicy.LEARNED, accepted)


def _type_mismatches(
    workspace_id: UUID, body: dict[str, Any], found: list[FieldProblem]
) -> list[FieldProblem]:
    """Return the properties of a type that the core would refuse, so that one answer lists every problem."""
    name, properties = body.get("eventName"), body.get("properties")
    if not isinstance(name, str) or not isinstance(properties, dict):
        return []
    types = dict(
        EventProperty.objects.in_workspace(workspace_id)
        .filter(definition__name=name.strip(), definition__deleted_at=None, is_locked=True)
        .values_list("name", "type")
    )
    reported = {problem.field for problem in found}
    return [
        FieldProblem(f"properties.{key}", "type_mismatch", f"must be of the type {types[key]}")
        for key, value in properties.items()
        if key in types
        and f"properties.{key}" not in reported
        and learned_type(value) is not None
        and not accepts(value, types[key])
    ]
