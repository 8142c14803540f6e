"""Both generations of Leadpush's API: one names the workspace in the path, the other wraps objects."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema_view
from rest_framework.exceptions import NotFound, ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.db.plans import force_custom_plan
from config.errors import DomainError
from contacts.api.paging import total_of
from contacts.crud import (
    contact_exists_elsewhere,
    create_contact,
    delete_contact,
    find_contact,
    remove_identifier,
    set_consent,
    update_contact,
    upsert_contact,
)
from contacts.errors import ContactNotFound
from contacts.models import Contact, Field
from contacts.profiles.fields import create_field, find_field, update_field
from contacts.queries import with_details
from dialects.leadpush import openapi
from dialects.leadpush.errors import LEADPUSH_ERRORS, invalid
from dialects.leadpush.mapping import (
    CONSENT_CHANNEL,
    CONSENT_OF_SUBSCRIBED,
    changes_of,
    cleared_identifiers,
    reference_to,
)
from dialects.leadpush.shapes import (
    ContactBody,
    FieldBody,
    FieldFilter,
    parse_contact,
    parse_event,
    parse_field,
    parse_field_filter,
    parse_fields,
    parse_newest_first,
    parse_page,
    parse_search,
    render_contact,
    render_event,
    render_field,
    render_page,
)
from events.api.ingest import IngestView, json_answer
from events.models import Event
from events.stream.group_commit import Submission
from events.stream.idempotency import Answer
from events.stream.queries import bounded_count, events_of, list_events
from events.stream.types import IncomingEvent, Outcome, SchemaPolicy
from workspaces.api.base import ErrorTableMixin, WorkspaceAccess, WorkspaceAPIView, object_body
from workspaces.authentication.schemes import BearerAuthentication
from workspaces.errors import AccessDenied


class LeadpushAccess(WorkspaceAccess):
    """What all views of this format share."""

    authentication_classes = (BearerAuthentication,)
    error_table = LEADPUSH_ERRORS
    workspace_kwarg = "workspace"

    @property
    def names_workspace(self) -> bool:
        """Whether this is the generation with the workspace in the path."""
        return self.workspace_kwarg in self.kwargs

    def one(self, shape: dict[str, Any], status: int = 200) -> Response:
        """Answer a single object: bare in the older generation, wrapped in the newer."""
        return Response(shape if self.names_workspace else {"data": shape}, status=status)

    def declared_fields(self) -> list[str]:
        """Return the names of the workspace's contact fields."""
        return list(
            Field.objects.filter(workspace=self.workspace).order_by("id").values_list("name", flat=True)
        )

    def contact_answer(self, contact: Contact, status: int = 200) -> Response:
        """Answer a contact."""
        return self.one(render_contact(contact, self.declared_fields()), status)


class LeadpushView(LeadpushAccess, WorkspaceAPIView):
    """A view of this format."""


@extend_schema_view(post=openapi.SEND_EVENT, get=openapi.LIST_EVENTS)
class EventsView(LeadpushAccess, IngestView):
    """Records an event on a contact; lists a contact's events."""

    scopes = {"POST": "events:write", "GET": "events:read"}
    request_headers = ("X-Leadpush-API-Version", "X-Leadpush-SDK", "X-Leadpush-SDK-Version")

    def post(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Record the event and answer nothing."""
        try:
            return super().post(request, **kwargs)
        except (DomainError, ParseError, ValidationError):
            # Whom it is about comes before what it says (L5). Asked only now, it costs a good send no query.
            self._require_contact(kwargs["contact"])
            raise

    def submission(self, request: Request, **kwargs: Any) -> Submission:
        """Return the event of the body, on the contact of the path."""
        sent = parse_event(object_body(request))
        incoming = IncomingEvent(
            name=sent.event_name,
            contact=reference_to(kwargs["contact"], self.workspace.identity_field),
            properties=sent.attributes,
        )
        return self.submission_of(request, [incoming], SchemaPolicy.OPEN, _accepted)

    @force_custom_plan()
    def get(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """List the contact's events."""
        found = find_contact(self.workspace, contact)
        page, search = parse_page(request.query_params), parse_search(request.query_params)
        # The vendor lists what was sent; what Headrace itself notes of a contact is not.
        rows = list_events(
            self.workspace.id,
            contact_id=found.id,
            search=search,
            is_sent=True,
            newest_first=parse_newest_first(request.query_params),
            limit=page.size + 1,
            offset=page.offset,
        )
        if len(rows) <= page.size and (rows or page.number == 1):
            total = page.offset + len(rows)  # the last page tells by itself
        else:
            events = events_of(self.workspace.id, contact_id=found.id, search=search)
            sent = events.exclude(source=Event.Source.SYSTEM)
            total = bounded_count(sent, f"leadpush:{found.id}:{search.casefold()}")
        return Response(render_page([render_event(event) for event in rows], page, total))

    def _require_contact(self, contact: str) -> None:
        """Raise ContactNotFound, or AccessDenied for a foreign one where the path names a workspace (L1)."""
        try:
            find_contact(self.workspace, contact)
        except ContactNotFound:
            if self.names_workspace and contact_exists_elsewhere(self.workspace, contact):
                raise AccessDenied from None
            raise


@extend_schema_view(get=openapi.LIST_CONTACTS, post=openapi.CREATE_CONTACT)
class ContactsView(LeadpushView):
    """Lists and creates contacts."""

    scopes = {"GET": "contacts:read", "POST": "contacts:write"}

    def get(self, request: Request, **kwargs: Any) -> Response:
        """List the contacts, oldest first."""
        page = parse_page(request.query_params)
        contacts = Contact.objects.in_workspace(self.workspace.id).canonical()
        # What is skipped is counted in the index alone.
        ids = list(
            contacts.order_by("id").values_list("id", flat=True)[page.offset : page.offset + page.size + 1]
        )
        rows = with_details(contacts.filter(id__in=ids)).order_by("id")
        fields = self.declared_fields()
        shapes = [render_contact(contact, fields) for contact in rows]
        return Response(render_page(shapes, page, total_of(contacts)))

    def post(self, request: Request, **kwargs: Any) -> Response:
        """Create a contact, who must not exist."""
        identity = self.workspace.identity_field
        sent = parse_contact(object_body(request), identity, is_new=True)
        changes = changes_of(sent.attributes, sent.subscribed)
        return self.contact_answer(create_contact(self.workspace, changes, require_identity=True), 201)


@extend_schema_view(get=openapi.GET_CONTACT, post=openapi.UPDATE_CONTACT, delete=openapi.DELETE_CONTACT)
class ContactView(LeadpushView):
    """One contact, by UUID or identity value."""

    scopes = {"GET": "contacts:read", "POST": "contacts:write", "DELETE": "contacts:write"}

    def get(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """Return the contact."""
        return self.contact_answer(find_contact(self.workspace, contact))

    def post(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """Change what the body names of the contact."""
        found = find_contact(self.workspace, contact)
        identity = self.workspace.identity_field
        sent = parse_contact(object_body(request), identity, is_new=False)
        return self.contact_answer(self._updated(found, sent))

    @transaction.atomic
    def _updated(self, contact: Contact, sent: ContactBody) -> Contact:
        changes = changes_of(sent.attributes, sent.subscribed)
        updated = update_contact(self.workspace, contact, changes)
        kinds = cleared_identifiers(sent.attributes)
        for identifier in [one for one in contact.known_identifiers if one.kind in kinds]:
            updated = remove_identifier(self.workspace, updated, identifier.kind, identifier.value)
        return updated

    def delete(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """Delete the contact."""
        delete_contact(self.workspace, find_contact(self.workspace, contact))
        return Response(status=204)


# The word is a contact's identity value too: only POST takes it for a command.
@extend_schema_view(get=openapi.HIDDEN, post=openapi.UPSERT_CONTACT, delete=openapi.HIDDEN)
class UpsertContactView(ContactView):
    """Creates the contact of an identity value, or changes it."""

    def post(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """Match on the identity field; only given attributes change."""
        identity = self.workspace.identity_field
        sent = parse_contact(object_body(request), identity, is_new=True)
        changes = changes_of(sent.attributes, sent.subscribed)
        found, created = upsert_contact(self.workspace, identity, sent.attributes[identity], changes)
        return self.contact_answer(found, 201 if created else 200)


class SubscriptionView(LeadpushView):
    """Subscribes or unsubscribes a contact; `subscribed` says which."""

    scopes = {"POST": "contacts:write"}
    subscribed = True

    def post(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """Set the contact's consent to e-mail; a body has no meaning and is not read."""
        found = find_contact(self.workspace, contact)
        status = CONSENT_OF_SUBSCRIBED[self.subscribed]
        return self.contact_answer(set_consent(self.workspace, found, CONSENT_CHANNEL, status))


@extend_schema_view(post=openapi.SUBSCRIBE)
class SubscribeView(SubscriptionView):
    """Subscribes a contact."""


@extend_schema_view(post=openapi.UNSUBSCRIBE)
class UnsubscribeView(SubscriptionView):
    """Unsubscribes a contact."""

    subscribed = False


@extend_schema_view(get=openapi.LIST_FIELDS, post=openapi.CREATE_FIELD)
class FieldsView(LeadpushView):
    """Lists and creates contact fields."""

    scopes = {"GET": "contacts:read", "POST": "contacts:write"}

    def get(self, request: Request, **kwargs: Any) -> Response:
        """List the fields: a page in the newer generation, all of them in the older."""
        page, wanted = parse_page(request.query_params), parse_field_filter(request.query_params)
        rows = _fields(self.workspace.id, wanted)
        if self.names_workspace:
            return Response({"data": [render_field(row) for row in rows]})
        shapes = [render_field(row) for row in rows[page.offset : page.offset + page.size + 1]]
        return Response(render_page(shapes, page, rows.count()))

    def post(self, request: Request, **kwargs: Any) -> Response:
        """Create a field, or in the older generation all of a list or none."""
        body = object_body(request)
        if self.names_workspace:
            return Response(
                {"data": [render_field(row) for row in self._create_all(parse_fields(body))]}, status=201
            )
        return self.one(render_field(self._create(parse_field(body, is_new=True))), 201)

    @transaction.atomic
    def _create_all(self, bodies: list[FieldBody]) -> list[Field]:
        return [self._create(body) for body in bodies]

    def _create(self, body: FieldBody) -> Field:
        return create_field(self.workspace, body.name, body.type, body.format)


@extend_schema_view(get=openapi.GET_FIELD, post=openapi.UPDATE_FIELD)
class FieldView(LeadpushView):
    """One contact field."""

    scopes = {"GET": "contacts:read", "POST": "contacts:write"}

    def get(self, request: Request, field: str, **kwargs: Any) -> Response:
        """Return the field."""
        return self.one(render_field(find_field(self.workspace, field)))

    def post(self, request: Request, field: str, **kwargs: Any) -> Response:
        """Change what the body names of the field."""
        row = find_field(self.workspace, field)
        body = parse_field(object_body(request), is_new=False)
        if body.type not in (None, row.type):
            raise invalid({"type": ["The type field cannot change: values of it are stored."]})
        kept = body.format if "format" in body.given else row.format
        return self.one(render_field(update_field(self.workspace, row, name=body.name, format=kept)))


class UnknownRouteView(ErrorTableMixin, APIView):
    """Answers what this API does not have, in its own format."""

    error_table = LEADPUSH_ERRORS
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse every method."""
        raise NotFound


def _accepted(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    outcomes[0].recorded()
    return json_answer(204, None)


def _fields(workspace_id: UUID, wanted: FieldFilter) -> QuerySet[Field]:
    rows = Field.objects.filter(workspace_id=workspace_id).order_by("id")
    if wanted.types is not None:
        rows = rows.filter(type__in=wanted.types)
    return rows.filter(name__icontains=wanted.search) if wanted.search else rows
