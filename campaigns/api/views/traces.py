"""Endpoint of traces: everything that one event caused."""

from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.serializers.traces import TraceSerializer
from campaigns.reporting.trace import trace_event
from config.ids import NO_ID, parse_uuid
from events.models import Event
from workspaces.api.native import NativeViewSet


class TraceViewSet(NativeViewSet):
    """The traces of events."""

    tag = "events"
    queryset = Event.objects.none()
    serializer_class = TraceSerializer
    lookup_url_kwarg = "event_id"
    scopes = {
        "GET": "events:read contacts:read scoring:read segments:read campaigns:read messages:read",
    }

    @extend_schema(operation_id="traceEvent", responses={200: TraceSerializer})
    @action(detail=True)
    def trace(self, request: Request, workspace_id: str, event_id: str) -> Response:
        """Return an event's schema result, contact, scores, segments, enrollments, decisions and messages."""
        event = Event.objects.in_workspace(self.workspace.id).filter(id=parse_uuid(event_id) or NO_ID).first()
        if event is None:
            raise NotFound
        return Response(TraceSerializer(trace_event(event)).data)
