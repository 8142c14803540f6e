"""Endpoints of refused events: why they were refused, and their replay."""

from dataclasses import asdict
from typing import Any

import django_filters
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from events.errors import RefusedEventNotFound
from events.models import RefusedEvent
from events.replay import BATCH_ROWS, causes, replay_batch, replayable
from events.stream.quarantine import discard
from workspaces.api.fields import MillisecondsField, StrictCharField
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination
from workspaces.api.strict import READ_REFUSALS, WRITE_REFUSALS, KnownKeysSerializer, read_body


class RefusedEventFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """By name and by cause."""

    type = django_filters.CharFilter(field_name="name", help_text="events of this type")
    code = django_filters.CharFilter(help_text="refused for this cause")

    class Meta:
        model = RefusedEvent
        fields: list[str] = []


class RefusedEventSerializer(serializers.Serializer[Any]):
    """A refused event, as it came in."""

    id = serializers.UUIDField()
    type = serializers.CharField(source="name")
    code = serializers.CharField(help_text="the cause")
    message = serializers.CharField(source="error")
    event = serializers.SerializerMethodField(help_text="as Headrace understood it; null: not even that")
    format = serializers.CharField(help_text="whose parser refused it; empty: it was understood")
    item = serializers.JSONField(help_text="as it was sent, where it was not understood")
    origin = serializers.ChoiceField(source="source", choices=["api", "import"])
    attempts = serializers.IntegerField(help_text="replays that were refused again")
    receivedAt = MillisecondsField(source="received_at")

    @extend_schema_field(OpenApiTypes.OBJECT)
    def get_event(self, row: RefusedEvent) -> Any:
        """Return the event, null for what was not understood."""
        return None if row.format else row.incoming


class CauseSerializer(serializers.Serializer[Any]):
    """Refused events of one type and one cause."""

    type = serializers.CharField(source="name")
    code = serializers.CharField()
    message = serializers.CharField(source="error")
    count = serializers.IntegerField()
    firstAt = MillisecondsField(source="first_at")
    lastAt = MillisecondsField(source="last_at")


class ReplayBodySerializer(KnownKeysSerializer):
    """What to replay: all, or those of a type and a cause."""

    type = StrictCharField(required=False, max_length=255)
    code = StrictCharField(required=False, max_length=64)
    after = serializers.UUIDField(required=False, allow_null=True, help_text="`next` of the answer before")


class ReplayedSerializer(serializers.Serializer[Any]):
    """What became of them; `next`: where to go on."""

    recorded = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    refused = serializers.IntegerField(help_text="again; they stay")
    next = serializers.UUIDField(source="last_id", allow_null=True, help_text="null: there are no more")


class RefusedEventViewSet(NativeViewSet):
    """The refused events of a workspace."""

    tag = "events"
    queryset = RefusedEvent.objects.none()
    serializer_class = RefusedEventSerializer
    filterset_class = RefusedEventFilterSet
    pagination_class = KeysetPagination
    lookup_url_kwarg = "refused_id"
    not_found = RefusedEventNotFound
    scope = "events"
    # They hold what identifies people.
    action_scopes = {
        "list": "events:read contacts:read",
        "retrieve": "events:read contacts:read",
        "replay": "events:write",
    }

    def get_queryset(self) -> Any:
        """Return the workspace's refused events."""
        return RefusedEvent.objects.in_workspace(self.workspace.id)

    @extend_schema(operation_id="listRefusedEvents")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List refused events, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(RefusedEventSerializer(page, many=True).data)

    @extend_schema(operation_id="getRefusedEvent")
    def retrieve(self, request: Request, workspace_id: str, refused_id: str) -> Response:
        """Return a refused event."""
        return Response(RefusedEventSerializer(self.get_object()).data)

    @extend_schema(operation_id="discardRefusedEvent", responses={204: None})
    def destroy(self, request: Request, workspace_id: str, refused_id: str) -> Response:
        """Delete a refused event: it is never recorded."""
        discard(self.workspace.id, [self.get_object().id])
        return Response(status=204)

    @extend_schema(
        operation_id="listRefusalCauses", responses={200: CauseSerializer(many=True), **READ_REFUSALS}
    )
    @action(detail=False, methods=["get"], pagination_class=None, filterset_class=None)
    def causes(self, request: Request, workspace_id: str) -> Response:
        """Count refused events by type and cause, the most frequent first."""
        found = causes(self.get_queryset())
        return Response(CauseSerializer([asdict(cause) for cause in found], many=True).data)

    @extend_schema(
        operation_id="replayRefusedEvents",
        request=ReplayBodySerializer,
        responses={200: ReplayedSerializer, **WRITE_REFUSALS},
    )
    @action(detail=False, methods=["post"])
    def replay(self, request: Request, workspace_id: str) -> Response:
        """Record the next 500 refused events, each once, as of when it came; go on with `next` as `after`."""
        body = read_body(ReplayBodySerializer, request)
        rows = replayable(self.workspace.id, name=body.get("type"), code=body.get("code"))
        replayed = replay_batch(self.workspace.id, rows, after=body.get("after"))
        answer = asdict(replayed)
        if replayed.total < BATCH_ROWS:
            answer["last_id"] = None
        return Response(ReplayedSerializer(answer).data)
