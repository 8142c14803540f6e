"""Events in the native format: sent one by one or in batches, listed, shown."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from config import clock
from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from contacts.api.presentation import briefs, ids_only
from events.api.ingest import IngestView, json_answer
from events.api.presentation import rows, whole, with_contact, without_contacts
from events.api.serializers import BatchResultSerializer, EventRowSerializer, EventSerializer, LagSerializer
from events.api.shapes import BatchBody, BatchItem, EventBody, batch_schema, json_schema, read
from events.models import Event
from events.processing.lag import processing_lag
from events.stream.group_commit import ContactReader, Submission
from events.stream.idempotency import Answer
from events.stream.queries import list_events
from events.stream.types import IncomingEvent, Outcome, SchemaPolicy
from workspaces.api.base import object_body
from workspaces.api.errors import NATIVE_ERRORS
from workspaces.api.native import NativeAPIView
from workspaces.api.strict import READ_REFUSALS, WRITE_REFUSALS, integer_parameter, text_parameter
from workspaces.scopes import Need

MAX_LIMIT = 200
_SCOPES = {"GET": "events:read", "POST": "events:write"}
_OF_LISTED = Need(
    "GET",
    "contacts:read",
    "for more of `contact` than the id, else null, and the `metadata` of `contact.…` and `form.…`, else empty",
)
_OF_RECORDED = Need("POST", "contacts:read", "for more of `contact` than the id, else null")
_LIST_PARAMETERS = [
    OpenApiParameter("contactId", str, description="Filter by contact"),
    OpenApiParameter("type", str, description="Filter by event type"),
    OpenApiParameter("limit", int, description=f"1 to {MAX_LIMIT}, 50 by default"),
    OpenApiParameter("before", str, description="page by key: the id of the last event before the page"),
]


class EventsView(IngestView, NativeAPIView):
    """The stream of a workspace."""

    parameters = _LIST_PARAMETERS
    scopes = _SCOPES
    needs = (_OF_LISTED, _OF_RECORDED)

    @extend_schema(
        operation_id="listEvents",
        tags=["events"],
        parameters=_LIST_PARAMETERS,
        responses={200: EventRowSerializer(many=True), **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str) -> Response:
        """List events, newest first."""
        limit = integer_parameter(request, "limit", 50, highest=MAX_LIMIT)
        contact_id = text_parameter(request, "contactId")
        before = _key(request)
        if contact_id is not None and parse_uuid(contact_id) is None:
            return Response([])
        events = list_events(
            self.workspace.id,
            contact_id=parse_uuid(contact_id),
            name=text_parameter(request, "type"),
            limit=limit,
            before=before,
        )
        return Response(rows(self.workspace, [_readable(self, event) for event in events], _reader(self)))

    @extend_schema(
        operation_id="ingestEvent",
        tags=["events"],
        request={"application/json": json_schema(EventBody)},
        responses={201: EventSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Record an event; what it turns (the lead score) follows a moment later."""
        return super().post(request, **kwargs)

    def submission(self, request: Request, **kwargs: Any) -> Submission:
        """Record the event of the body."""
        incoming = read(object_body(request), EventBody).to_incoming()
        return self.submission_of(
            request, [incoming], SchemaPolicy.OPEN, _created, read_contacts=_reader(self)
        )


class EventBatchView(IngestView, NativeAPIView):
    """Many events in one request."""

    scopes = _SCOPES

    @extend_schema(
        operation_id="ingestEvents",
        tags=["events"],
        request={"application/json": batch_schema()},
        responses={200: BatchResultSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Record up to 1,000 events; a bad one is refused by itself, the others are recorded."""
        return super().post(request, **kwargs)

    def submission(self, request: Request, **kwargs: Any) -> Submission:
        """Record the events of the body."""
        items = [_item(item) for item in read(object_body(request), BatchBody).events]
        sound = [item for item in items if isinstance(item, IncomingEvent)]
        return self.submission_of(request, sound, SchemaPolicy.OPEN, partial(_results, items))


class EventView(NativeAPIView):
    """One event."""

    scopes = _SCOPES
    needs = (_OF_LISTED,)

    @extend_schema(
        operation_id="getEvent", tags=["events"], responses={200: EventSerializer, **READ_REFUSALS}
    )
    def get(self, request: Request, workspace_id: str, event_id: str) -> Response:
        """Return an event with all that its sender said of it."""
        event = Event.objects.filter(workspace_id=self.workspace.id, id=parse_uuid(event_id) or NO_ID).first()
        if event is None:
            raise NotFound
        return Response(with_contact(_readable(self, event), _reader(self)))


class EffectsView(NativeAPIView):
    """What the effects wait for."""

    scopes = _SCOPES

    @extend_schema(
        operation_id="getEffects", tags=["events"], responses={200: LagSerializer, **READ_REFUSALS}
    )
    def get(self, request: Request, workspace_id: str) -> Response:
        """Tell how far scores, segments and campaigns are behind the events and the clock."""
        now = clock.now()
        lag = processing_lag(self.workspace.id, now)
        shown = {
            "lagSeconds": lag.seconds(now),
            "waitingBatches": lag.waiting_batches,
            "waitingSince": lag.waiting_since,
            "overdue": lag.overdue,
            "overdueSince": lag.overdue_since,
            "parked": lag.parked,
        }
        return Response(LagSerializer(shown).data)


def _reader(view: NativeAPIView) -> ContactReader:
    """Return what reads the contacts of events for who asks: of a contact that may not be read the id is left."""
    return briefs if view.may("contacts:read") else ids_only


def _readable(view: NativeAPIView, event: Event) -> Event:
    return event if view.may("contacts:read") else without_contacts(event)


def _created(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    event = outcomes[0].recorded()
    return json_answer(201, whole(event, contacts.get(event.contact_id) if event.contact_id else None))


def _results(
    items: Sequence[IncomingEvent | Exception], outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]
) -> Answer:
    result_outcomes = iter(outcomes)
    results = [
        _result(next(result_outcomes)) if isinstance(item, IncomingEvent) else _refused(item)
        for item in items
    ]
    return json_answer(200, {"results": results})


def _key(request: Request) -> Any:
    text = text_parameter(request, "before")
    key = parse_uuid(text)
    if text is not None and key is None:
        raise ValidationError({"before": ["Must be the id of an event."]})
    return key


def _item(item: object) -> IncomingEvent | Exception:
    """Return an item of a batch as the core takes it, or what is wrong with it."""
    try:
        return read(item, BatchItem).to_incoming()
    except (ValidationError, DomainError) as error:
        return error


def _result(outcome: Outcome) -> dict[str, Any]:
    if outcome.event is None:
        assert outcome.error is not None  # noqa: S101  (what is not recorded has its reason)
        return _refused(outcome.error)
    return {"status": outcome.status, "id": outcome.event.id}


def _refused(error: Exception) -> dict[str, Any]:
    problem = NATIVE_ERRORS.problem(error)
    assert problem is not None  # noqa: S101  (both kinds of error are in every table)
    described: dict[str, Any] = {"code": problem.code, "message": problem.message}
    if problem.details:
        described["details"] = problem.details
    return {"status": "refused", "error": described}
