"""Omnisend's events of v3, v5 and later: recorded, and listed by their names."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from config.http.rendering import iso_seconds
from config.ids import NO_ID, parse_uuid
from dialects.omnisend.base import OmnisendIngest, document
from dialects.omnisend.errors import V3_ERRORS, V5_ERRORS
from dialects.omnisend.mapping import FIELD_TYPES
from dialects.omnisend.pages import page_bounds
from dialects.omnisend.serializers import EVENT_SCHEMA, OLD_EVENT_SCHEMA, parse_event, parse_old_event
from events.api.ingest import IngestViewSet, json_answer
from events.errors import DefinitionNotFound
from events.models import Event, EventDefinition
from events.stream.group_commit import Submission
from events.stream.idempotency import Answer
from events.stream.types import Outcome, SchemaPolicy
from workspaces.api.base import object_body
from workspaces.api.openapi import component

_KEY = OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER)
_CUSTOM_EVENT = component(
    "OmnisendCustomEvent",
    {
        "type": "object",
        "properties": {
            "eventID": {"type": "string"},
            "name": {"type": "string"},
            "systemName": {"type": "string"},
            "enabled": {"type": "boolean"},
            "createdAt": {"type": "string", "format": "date-time"},
            "updatedAt": {"type": "string", "format": "date-time"},
            "fields": {"type": "array", "items": {"type": "object"}},
        },
        "required": ["eventID", "name", "systemName", "fields"],
    },
)
_OLD_BODY = component("OmnisendOldEvent", OLD_EVENT_SCHEMA)


class EventViewSet(OmnisendIngest, IngestViewSet):
    """Events as v5 has them: with properties of any form, which lock no types."""

    queryset = Event.objects.none()
    error_table = V5_ERRORS
    scopes: ClassVar[Mapping[str, str]] = {"POST": "events:write"}

    @document(
        "Record an event", {202: None}, body=component("OmnisendEvent", EVENT_SCHEMA), parameters=[_KEY]
    )
    @action(detail=False, methods=["post"], url_path="events", url_name="omnisend-events")
    def send_event(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Record an event, and create or update its contact: all or nothing."""
        return self.record(request, self._submission)

    def _submission(self, request: Request) -> Submission:
        incoming = parse_event(object_body(request))
        return self.submission_of(request, [incoming], SchemaPolicy.OPEN, accepted)


class OldEventViewSet(OmnisendIngest, IngestViewSet):
    """Events as v3 has them, custom ones: their fields are learned from the first, and lock."""

    queryset = EventDefinition.objects.none()
    error_table = V3_ERRORS
    scopes: ClassVar[Mapping[str, str]] = {"POST": "events:write", "GET": "definitions:read"}

    @document(
        "List custom events by name",
        {200: _CUSTOM_EVENT(many=True)},
        parameters=[
            OpenApiParameter("limit", OpenApiTypes.INT),
            OpenApiParameter("offset", OpenApiTypes.INT),
        ],
    )
    @action(detail=False, url_path="events", url_name="omnisend-old-events")
    def events(self, request: Request, **kwargs: Any) -> Response:
        """Return the names of events that the workspace knows, with their fields: a bare list."""
        limit, offset = page_bounds(request.query_params)
        return Response(
            [_render(each) for each in self._definitions().order_by("name", "id")[offset:][:limit]]
        )

    @document("Record an event by its name", {204: None}, body=_OLD_BODY, parameters=[_KEY])
    @events.mapping.post
    def send_event(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Record an event; its name becomes known with the first."""
        return self.record(request, self._submission)

    @document("Get a custom event", {200: _CUSTOM_EVENT})
    @action(detail=False, url_path=r"events/(?P<event_id>[^/]+)", url_name="omnisend-old-event")
    def event(self, request: Request, event_id: str, **kwargs: Any) -> Response:
        """Return a custom event."""
        return Response(_render(self._definition(event_id)))

    @document("Record an event by the id of its name", {204: None}, body=_OLD_BODY, parameters=[_KEY])
    @event.mapping.post
    def send_known_event(self, request: Request, event_id: str, **kwargs: Any) -> HttpResponse:
        """Record an event of a name that is known."""
        return self.record(request, self._submission)

    def _submission(self, request: Request) -> Submission:
        known = self.kwargs.get("event_id")
        name = None if known is None else self._definition(known).name
        incoming = parse_old_event(object_body(request), name)
        return self.submission_of(request, [incoming], SchemaPolicy.LEARNED, _recorded)

    def _definitions(self) -> Any:
        return EventDefinition.objects.in_workspace(self.workspace.id).active().prefetch_related("properties")

    def _definition(self, event_id: str) -> EventDefinition:
        definition = self._definitions().filter(id=parse_uuid(event_id) or NO_ID).first()
        if definition is None:
            raise DefinitionNotFound
        found: EventDefinition = definition
        return found


def accepted(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    """Return the empty 202 of a recorded event. Raises the DomainError that refused it."""
    outcomes[0].recorded()
    return json_answer(202, None)


def _recorded(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    """Return v3's empty 204 of a recorded event. Raises the DomainError that refused it."""
    outcomes[0].recorded()
    return json_answer(204, None)


def _render(definition: EventDefinition) -> dict[str, Any]:
    return {
        "eventID": str(definition.id),
        "name": definition.name,
        "systemName": definition.name,
        "enabled": True,
        "createdAt": iso_seconds(definition.created_at),
        "updatedAt": iso_seconds(definition.updated_at),
        "fields": [
            {
                "name": each.name,
                "systemName": each.name,
                "type": FIELD_TYPES.get(each.type, each.type),
                "required": False,
            }
            for each in definition.properties.all()
        ],
    }
