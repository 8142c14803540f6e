"""The partner API's one endpoint."""

from dataclasses import replace
from typing import Any

from django.db import transaction
from drf_spectacular.utils import extend_schema_view
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from contacts.models import Company
from contacts.services import link_company, resolve_company
from events.api.ingest import IngestView
from events.dialects.suresend.errors import error_table
from events.dialects.suresend.openapi import CREATE_EVENT
from events.dialects.suresend.queries import person_of
from events.dialects.suresend.shapes import (
    SentCompany,
    read_event,
    render_company,
    render_event,
    render_person,
)
from events.services import IncomingEvent, SchemaPolicy, record_event
from workspaces.api.base import RefusalsInOwnFormat, object_body
from workspaces.authentication import BearerAuthentication
from workspaces.models import Workspace


@extend_schema_view(post=CREATE_EVENT)
class EventsView(IngestView):
    """Records an event for a person and, if one is named, a company."""

    authentication_classes = (BearerAuthentication,)
    error_table = error_table
    scopes = {"POST": "events:write"}
    request_headers = ("X-System-Id",)

    def vendor_rate_of(self, request: Request) -> str:
        """Return the documented limit: a system that names itself may send twice as much."""
        return "600/minute" if request.headers.get("X-System-Id", "").strip() else "300/minute"

    def post(self, request: Request, **kwargs: Any) -> Response:
        """Record the event; 201 if that made a person or a company, else 200."""
        sent = read_event(object_body(request))
        if sent.company is None:
            answer = _answer(self.workspace, sent.event)
        else:
            answer = _answer_with_company(self.workspace, sent.event, sent.company)
        was_created = answer["wasPersonCreated"] or answer.get("wasCompanyCreated", False)
        return Response(answer, status=201 if was_created else 200)


class UnknownRouteView(RefusalsInOwnFormat, APIView):
    """Answers what this API does not have, in its own format."""

    error_table = error_table
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse every method."""
        raise NotFound


def _answer(workspace: Workspace, incoming: IncomingEvent, *, savepoint: bool = True) -> dict[str, Any]:
    outcome = record_event(workspace, incoming, schema_policy=SchemaPolicy.OPEN, savepoint=savepoint)
    event = outcome.event
    assert event is not None and event.survivor_id is not None  # noqa: S101, PT018  (it was recorded, of a person)
    person = person_of(workspace.id, event.survivor_id, event.company_id)
    if event.company_id is not None and not person["is_member"]:
        link_company(workspace, person["id"], event.company_id)
    return {
        "event": render_event(event),
        "person": render_person(person),
        "wasPersonCreated": outcome.contact_created,
    }


@transaction.atomic
def _answer_with_company(workspace: Workspace, incoming: IncomingEvent, sent: SentCompany) -> dict[str, Any]:
    company, was_company_created = _company(workspace, sent)
    answer = _answer(workspace, replace(incoming, company_id=company.id), savepoint=False)
    return {**answer, "company": render_company(company), "wasCompanyCreated": was_company_created}


def _company(workspace: Workspace, sent: SentCompany) -> tuple[Company, bool]:
    if sent.id is not None:
        return resolve_company(workspace, id=sent.id)
    return resolve_company(
        workspace, name=sent.name, website=sent.website, industry=sent.industry, size=sent.size
    )
