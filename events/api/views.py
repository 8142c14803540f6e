"""Endpoints of events in the native API."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from config import clock
from contacts.api.briefs import briefs, ids_only
from events.api.filters import EventFilterSet
from events.api.ingest import IngestViewSet, json_answer
from events.api.items import NATIVE_ITEMS
from events.api.serializers import (
    BatchResultSerializer,
    EventRowSerializer,
    EventSerializer,
    LagSerializer,
    render_event,
)
from events.api.shapes import BatchBody, EventBody, batch_schema, json_schema, read
from events.models import Event
from events.processing.lag import processing_lag
from events.stream.group_commit import Submission
from events.stream.idempotency import Answer
from events.stream.item_formats import ParsedItems, UnparsedItem, parse_items
from events.stream.types import Outcome, SchemaPolicy
from workspaces.api.base import object_body
from workspaces.api.errors import NATIVE_ERRORS
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import BareListPagination
from workspaces.scopes import Need

_CONTACTS_OF_LISTED = Need(
    "GET",
    "contacts:read",
    "for more of `contact` than the id, else null, and the `metadata` of `contact.…` and `form.…`, else empty",
)
_CONTACT_OF_RECORDED = Need(
    "POST", "contacts:read", "for more of `contact` than the id, else null", action="create"
)


class EventPagination(BareListPagination):
    """Pages of the stream."""

    key_description = "page by key: the id of the last event before the page"
    key_error = "Must be the id of an event."


class EventViewSet(IngestViewSet, NativeViewSet):
    """The stream of a workspace: sent one by one or in batches, listed, shown."""

    tag = "events"
    queryset = Event.objects.none()
    serializer_class = EventRowSerializer
    pagination_class = EventPagination
    lookup_url_kwarg = "event_id"
    filterset_class = EventFilterSet
    scope = "events"
    needs = (_CONTACTS_OF_LISTED, _CONTACT_OF_RECORDED)

    def get_queryset(self) -> QuerySet[Event]:
        """Return the workspace's events."""
        return Event.objects.in_workspace(self.workspace.id)

    def get_serializer_context(self) -> dict[str, Any]:
        """Tell serializers whether who asks may read contacts."""
        return {"shows_contacts": self.may("contacts:read")}

    @extend_schema(operation_id="listEvents")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List events, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(
        operation_id="ingestEvent",
        request={"application/json": json_schema(EventBody)},
        responses={201: EventSerializer},
    )
    def create(self, request: Request, workspace_id: str) -> HttpResponse:
        """Record an event; what it turns (the lead score) follows a moment later."""
        return self.record(request, self._event)

    @extend_schema(
        operation_id="ingestEvents",
        request={"application/json": batch_schema()},
        responses={200: BatchResultSerializer},
    )
    @action(detail=False, methods=["post"])
    def batch(self, request: Request, workspace_id: str) -> HttpResponse:
        """Record up to 1,000 events; a bad one is refused by itself, the others are recorded."""
        return self.record(request, self._events)

    @extend_schema(operation_id="getEvent", responses={200: EventSerializer})
    def retrieve(self, request: Request, workspace_id: str, event_id: str) -> Response:
        """Return an event with all that its sender said of it."""
        return Response(EventSerializer(self.get_object(), context=self.get_serializer_context()).data)

    def _event(self, request: Request) -> Submission:
        incoming = read(object_body(request), EventBody).to_incoming()
        # Of a contact that may not be read the id is left.
        reader = briefs if self.may("contacts:read") else ids_only
        return self.submission_of(request, [incoming], SchemaPolicy.OPEN, _created, read_contacts=reader)

    def _events(self, request: Request) -> Submission:
        items = parse_items(NATIVE_ITEMS, read(object_body(request), BatchBody).events, clock.now())
        answer = partial(_results, items)
        return self.submission_of(request, items.events, NATIVE_ITEMS.schema_policy, answer, items=items)


class EffectsViewSet(NativeViewSet):
    """What the effects of events wait for."""

    tag = "events"
    queryset = Event.objects.none()
    serializer_class = LagSerializer
    scope = "events"

    @extend_schema(operation_id="getEffects", responses={200: LagSerializer})
    @action(detail=False)
    def effects(self, request: Request, workspace_id: str) -> Response:
        """Tell how far scores, segments and campaigns are behind the events and the clock."""
        return Response(LagSerializer(processing_lag(self.workspace.id, clock.now())).data)


def _created(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    event = outcomes[0].recorded()
    return json_answer(201, render_event(event, contacts.get(event.contact_id) if event.contact_id else None))


def _results(items: ParsedItems, outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    remaining_outcomes = iter(outcomes)
    results = [
        _refused(each.error) if isinstance(each, UnparsedItem) else _result(next(remaining_outcomes))
        for each in items.results
    ]
    return json_answer(200, {"results": results})


def _result(outcome: Outcome) -> dict[str, Any]:
    if outcome.event is None:
        assert outcome.error is not None  # noqa: S101  (what is not recorded has its reason)
        return _refused(outcome.error)
    return {"status": outcome.status, "id": outcome.event.id}


def _refused(error: Exception) -> dict[str, Any]:
    refusal = NATIVE_ERRORS.refusal(error)
    assert refusal is not None  # noqa: S101  (both kinds of error are in every table)
    described: dict[str, Any] = {"code": refusal.code, "message": refusal.message}
    if refusal.details:
        described["details"] = refusal.details
    return {"status": "refused", "error": described}
