"""Sure Send's endpoint: events."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from msgspec import to_builtins
from msgspec.structs import replace
from rest_framework.decorators import action
from rest_framework.request import Request

from contacts.errors import ContactNotFound
from dialects.fallback import UnknownRouteView
from dialects.suresend.errors import error_table
from dialects.suresend.queries import persons
from dialects.suresend.serializers import (
    BODY_SCHEMA,
    UNTOLD_PERSON,
    SendAnswer,
    SureSendErrorSerializer,
    parse_event,
    render_company,
    render_event,
    render_person,
)
from events.api.ingest import IngestViewSet, json_answer
from events.api.shapes import json_schema
from events.models import Event
from events.stream.group_commit import Submission
from events.stream.idempotency import Answer
from events.stream.types import Outcome, SchemaPolicy
from workspaces.access import Credential
from workspaces.api.base import object_body
from workspaces.api.openapi import component
from workspaces.authentication.schemes import BearerAuthentication

_ANSWER = component("SureSendAnswer", json_schema(SendAnswer))
_REFUSALS = {
    401: "No valid credential",
    403: "The credential lacks the scope events:write",
    404: "No such person or company",
    409: "The Idempotency-Key stands for another request",
    413: "The body is too large",
    415: "The body is not application/json",
    422: "The body is invalid; `errors` names every field",
    429: "Too many requests",
}


class EventViewSet(IngestViewSet):
    """Events of persons and companies."""

    queryset = Event.objects.none()
    authentication_classes = (BearerAuthentication,)
    error_table = error_table
    scopes = {"POST": "events:write"}
    request_headers = ("X-System-Id",)

    def vendor_rate_of(self, request: Request) -> str:
        """Return the documented limit: a system that names itself may send twice as much."""
        return "600/minute" if request.META.get("HTTP_X_SYSTEM_ID", "").strip() else "300/minute"

    @extend_schema(
        tags=["Sure Send"],
        summary="Create an event",
        description="Records an event for a person, who is found by id, email or phone, or created.",
        parameters=[
            OpenApiParameter(
                "X-System-Id", OpenApiTypes.STR, OpenApiParameter.HEADER, description="Any value"
            ),
            OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER),
        ],
        request=component("SureSendBody", BODY_SCHEMA),
        responses={
            200: OpenApiResponse(_ANSWER, description="Person and company existed"),
            201: OpenApiResponse(_ANSWER, description="A person or a company was created"),
            **{
                status: OpenApiResponse(SureSendErrorSerializer, description=why)
                for status, why in _REFUSALS.items()
            },
        },
    )
    @action(detail=False, methods=["post"], url_path="events", url_name="suresend-events")
    def create_event(self, request: Request) -> HttpResponse:
        """Record an event for a person and, if one is named, a company."""
        return self.record(request, self._submission)

    def _submission(self, request: Request) -> Submission:
        """Record the event; 201 if that made a person or a company, else 200."""
        incoming = parse_event(object_body(request))
        if isinstance(request.auth, Credential) and request.auth.is_public:
            return self.submission_of(request, [incoming], SchemaPolicy.OPEN, _answer_to_page)
        answer = _answer if self.may("contacts:read") else _answer_without_person
        return self.submission_of(request, [incoming], SchemaPolicy.OPEN, answer, read_contacts=persons)


class UnknownSureSendRouteView(UnknownRouteView):
    """Answers what this API does not have, in its own format."""

    error_table = error_table


def _answer_to_page(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    """Tell nothing of the person, nor whether somebody was known: anybody can read such a key."""
    (outcome,) = outcomes
    # An id tells when what it is of was made.
    event = replace(render_event(outcome.recorded()), person_id=None, company_id=None)
    return _json(200, SendAnswer(event=event, person=UNTOLD_PERSON, was_person_created=False))


def _answer_without_person(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    """Tell of the person and the company their ids only: for who may not read contacts."""
    (outcome,) = outcomes
    event = render_event(outcome.recorded())
    person = replace(UNTOLD_PERSON, id=event.person_id)
    answer = SendAnswer(event=event, person=person, was_person_created=outcome.contact_created)
    return _json(_status(outcome), answer)


def _answer(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    (outcome,) = outcomes
    event = outcome.recorded()
    person = contacts.get(event.contact_id) if event.contact_id else None
    if person is None:
        raise ContactNotFound
    answer = SendAnswer(
        event=render_event(event), person=render_person(person), was_person_created=outcome.contact_created
    )
    if outcome.company is not None:
        answer = replace(
            answer, company=render_company(outcome.company), was_company_created=outcome.company_created
        )
    return _json(_status(outcome), answer)


def _status(outcome: Outcome) -> int:
    return 201 if outcome.contact_created or outcome.company_created else 200


def _json(status: int, answer: SendAnswer) -> Answer:
    return json_answer(status, to_builtins(answer))
