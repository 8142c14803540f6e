"""Leadpush's endpoints, of both generations of its API.

The older one names the workspace in the path, the newer one wraps objects in `data`.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    PolymorphicProxySerializer,
    extend_schema,
    inline_serializer,
)
from rest_framework.decorators import action
from rest_framework.exceptions import ParseError, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from config.db.plans import force_custom_plan
from config.errors import DomainError
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
from dialects.fallback import UnknownRouteView
from dialects.leadpush.base import LeadpushViewSet, document, single, wrapped
from dialects.leadpush.errors import LEADPUSH_ERRORS, invalid
from dialects.leadpush.filters import FieldFilterSet, parse_newest_first, parse_search
from dialects.leadpush.mapping import (
    CONSENT_CHANNEL,
    CONSENT_OF_SUBSCRIBED,
    changes_of,
    cleared_identifiers,
    reference_to,
)
from dialects.leadpush.pagination import EstimatedPagination, parse_page
from dialects.leadpush.serializers import (
    SEND_SCHEMA,
    LeadpushContactBodySerializer,
    LeadpushContactSerializer,
    LeadpushEventSerializer,
    LeadpushFieldListSerializer,
    LeadpushFieldSerializer,
    parse_event,
)
from events.api.ingest import IngestMixin, json_answer
from events.models import Event
from events.stream.group_commit import Submission
from events.stream.idempotency import Answer
from events.stream.queries import bounded_count, events_of, list_events
from events.stream.types import IncomingEvent, Outcome, SchemaPolicy
from workspaces.api.base import object_body
from workspaces.api.openapi import component
from workspaces.errors import AccessDenied

_CONTACT = r"contacts/(?P<contact>.+)"
# It does not end with a slash: a trailing one would else turn into a part of the value.
_CONTACT_ITSELF = r"contacts/(?P<contact>.*[^/])"
_FIELD = r"fields/(?P<field>[^/]+)"
_KEY = OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER)
_SEARCH = OpenApiParameter("search", OpenApiTypes.STR, description="A part of the name, in any case")
_SORTING = OpenApiParameter(
    "sorting[]",
    OpenApiTypes.STR,
    many=True,
    description='`{"id":"created_at","desc":true}` for the newest first',
)


_CONTACT_ANSWER, _FIELD_ANSWER = single(LeadpushContactSerializer), single(LeadpushFieldSerializer)
_FIELDS_BODY = PolymorphicProxySerializer(
    "LeadpushFieldBody", [LeadpushFieldSerializer, LeadpushFieldListSerializer], None
)
_CREATED_FIELDS = PolymorphicProxySerializer(
    "LeadpushCreated",
    [
        wrapped(LeadpushFieldSerializer),
        inline_serializer("LeadpushFields", {"data": LeadpushFieldSerializer(many=True)}),
    ],
    None,
)


class EventViewSet(IngestMixin, LeadpushViewSet):
    """Events of a contact."""

    queryset = Event.objects.none()
    serializer_class = LeadpushEventSerializer
    scopes = {"POST": "events:write", "GET": "events:read"}
    request_headers = ("X-Leadpush-API-Version", "X-Leadpush-SDK", "X-Leadpush-SDK-Version")

    @document("Send event", {204: None}, body=component("LeadpushSend", SEND_SCHEMA), parameters=[_KEY])
    @action(detail=False, methods=["post"], url_path=f"{_CONTACT}/events")
    def send_event(self, request: Request, contact: str, **kwargs: Any) -> HttpResponse:
        """Record an event of a contact, by UUID or identity value, and answer nothing."""
        try:
            return self.record(request, partial(self._submission, contact))
        except (DomainError, ParseError, ValidationError):
            # Whom it is about comes before what it says (L5). Asked only now, it costs a good send no query.
            self._require_contact(contact)
            raise

    def _submission(self, contact: str, request: Request) -> Submission:
        """Return the event of the body, on the contact of the path."""
        name, attributes = parse_event(object_body(request))
        reference = reference_to(contact, self.workspace.identity_field)
        incoming = IncomingEvent(name=name, contact=reference, properties=attributes)
        return self.submission_of(request, [incoming], SchemaPolicy.OPEN, _accepted)

    @document("List events", {200: LeadpushEventSerializer(many=True)}, parameters=[_SEARCH, _SORTING])
    @send_event.mapping.get
    @force_custom_plan()
    def list_sent(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """List the contact's events."""
        found = find_contact(self.workspace, contact)
        query = request.query_params
        parse_page(query)
        events: Any = _SentEvents(self.workspace.id, found.id, parse_search(query), parse_newest_first(query))
        return self.answer_page(self.paginate_queryset(events) or ())

    def _require_contact(self, contact: str) -> None:
        """Raise ContactNotFound, or AccessDenied for a foreign one where the path names a workspace (L1)."""
        try:
            find_contact(self.workspace, contact)
        except ContactNotFound:
            if self.names_workspace and contact_exists_elsewhere(self.workspace.id, contact):
                raise AccessDenied from None
            raise


class _SentEvents:
    """A person's events, to be sliced: those that were sent, without those that Headrace itself records."""

    def __init__(self, workspace_id: UUID, contact_id: UUID, search: str, newest_first: bool) -> None:
        self._workspace_id, self._contact_id = workspace_id, contact_id
        self._search, self._newest_first = search, newest_first

    def __getitem__(self, wanted: slice) -> list[Event]:
        return list_events(
            self._workspace_id,
            contact_id=self._contact_id,
            search=self._search,
            is_sent=True,
            newest_first=self._newest_first,
            limit=wanted.stop - wanted.start,
            offset=wanted.start,
        )

    def count(self) -> int:
        """Return how many there are, above 10,000 an estimate."""
        events = events_of(self._workspace_id, contact_id=self._contact_id, search=self._search)
        sent = events.exclude(source=Event.Source.SYSTEM)
        return bounded_count(sent, f"leadpush:{self._contact_id}:{self._search.casefold()}")


class ContactViewSet(LeadpushViewSet):
    """Contacts, by UUID or identity value."""

    queryset = Contact.objects.none()
    serializer_class = LeadpushContactSerializer
    pagination_class = EstimatedPagination
    scopes = {"GET": "contacts:read", "POST": "contacts:write", "DELETE": "contacts:write"}

    def get_queryset(self) -> QuerySet[Contact]:
        """Return the workspace's contacts, oldest first."""
        return Contact.objects.in_workspace(self.workspace.id).canonical().order_by("id")

    @document("List contacts", {200: LeadpushContactSerializer(many=True)})
    @action(detail=False, url_path="contacts")
    def list_contacts(self, request: Request, **kwargs: Any) -> Response:
        """List the contacts."""
        # What is skipped is counted in the index alone.
        ids = self.paginate_queryset(self.get_queryset().values_list("id", flat=True))
        return self.answer_page(with_details(self.get_queryset().filter(id__in=ids or ())))

    @document("Create contact", {201: _CONTACT_ANSWER}, body=LeadpushContactBodySerializer)
    @list_contacts.mapping.post
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Create a contact, who must not exist."""
        changes = _changes_of(self.validated(LeadpushContactBodySerializer))
        return self.answer(create_contact(self.workspace, changes, require_identity=True), 201)

    @document(
        "Create or update contact",
        {200: _CONTACT_ANSWER, 201: _CONTACT_ANSWER},
        body=LeadpushContactBodySerializer,
    )
    @action(detail=False, methods=["post"], url_path="contacts/upsert")
    def upsert(self, request: Request, **kwargs: Any) -> Response:
        """Match on the identity field; only given attributes change."""
        sent = self.validated(LeadpushContactBodySerializer)
        identity = sent["attributes"][self.identity_field]
        found, created = upsert_contact(self.workspace.id, self.identity_field, identity, _changes_of(sent))
        return self.answer(found, 201 if created else 200)

    # The word is a contact's identity value too: only POST takes it for a command.
    @extend_schema(exclude=True)
    @upsert.mapping.get
    def retrieve_upsert(self, request: Request, **kwargs: Any) -> Response:
        """Return the contact whose identity value is `upsert`."""
        return self.answer(find_contact(self.workspace, "upsert"))

    @extend_schema(exclude=True)
    @upsert.mapping.delete
    def destroy_upsert(self, request: Request, **kwargs: Any) -> Response:
        """Delete the contact whose identity value is `upsert`."""
        return self.destroy(request, "upsert")

    @document("Subscribe contact", {200: _CONTACT_ANSWER})
    @action(detail=False, methods=["post"], url_path=f"{_CONTACT}/subscribe")
    def subscribe(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """Set the contact's consent to e-mail; a body has no meaning and is not read."""
        return self._set_subscribed(contact, subscribed=True)

    @document("Unsubscribe contact", {200: _CONTACT_ANSWER})
    @action(detail=False, methods=["post"], url_path=f"{_CONTACT}/unsubscribe")
    def unsubscribe(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """Withdraw the contact's consent to e-mail; a body has no meaning and is not read."""
        return self._set_subscribed(contact, subscribed=False)

    def _set_subscribed(self, contact: str, *, subscribed: bool) -> Response:
        found = find_contact(self.workspace, contact)
        status = CONSENT_OF_SUBSCRIBED[subscribed]
        return self.answer(set_consent(self.workspace.id, found, CONSENT_CHANNEL, status))

    # Last: its path matches what stands below a contact, too.
    @document("Get contact", {200: _CONTACT_ANSWER})
    @action(detail=False, url_path=_CONTACT_ITSELF)
    def retrieve(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """Return the contact."""
        return self.answer(find_contact(self.workspace, contact))

    @document("Update contact", {200: _CONTACT_ANSWER}, body=LeadpushContactBodySerializer(partial=True))
    @retrieve.mapping.post
    def update(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """Change what the body names of the contact."""
        found = find_contact(self.workspace, contact)
        return self.answer(self._updated(found, self.validated(LeadpushContactBodySerializer, partial=True)))

    @transaction.atomic
    def _updated(self, contact: Contact, sent: Mapping[str, Any]) -> Contact:
        updated = update_contact(self.workspace.id, contact, _changes_of(sent))
        kinds = cleared_identifiers(sent["attributes"])
        for identifier in [each for each in contact.known_identifiers if each.kind in kinds]:
            updated = remove_identifier(self.workspace.id, updated, identifier.kind, identifier.value)
        return updated

    @document("Delete contact", {204: None})
    @retrieve.mapping.delete
    def destroy(self, request: Request, contact: str, **kwargs: Any) -> Response:
        """Delete the contact."""
        delete_contact(self.workspace.id, find_contact(self.workspace, contact))
        return Response(status=204)


class FieldViewSet(LeadpushViewSet):
    """Contact fields."""

    queryset = Field.objects.none()
    serializer_class = LeadpushFieldSerializer
    filterset_class = FieldFilterSet
    scopes = {"GET": "contacts:read", "POST": "contacts:write"}

    def get_queryset(self) -> QuerySet[Field]:
        """Return the workspace's fields, oldest first."""
        return Field.objects.in_workspace(self.workspace.id).order_by("id")

    @document("List fields", {200: LeadpushFieldSerializer(many=True)})
    @action(detail=False, url_path="fields")
    def list_fields(self, request: Request, **kwargs: Any) -> Response:
        """List the fields: a page in the newer generation, all of them in the older."""
        parse_page(request.query_params)  # for the list of the older generation too, which has no pages
        fields = self.filter_queryset(self.get_queryset())
        if self.names_workspace:
            return Response({"data": self.get_serializer(fields, many=True).data})
        return self.answer_page(self.paginate_queryset(fields) or ())

    @document("Create field", {201: _CREATED_FIELDS}, body=_FIELDS_BODY)
    @list_fields.mapping.post
    def create(self, request: Request, **kwargs: Any) -> Response:
        """Create a field, or in the older generation all of a list or none."""
        if not self.names_workspace:
            return self.answer(self._create(self.validated(LeadpushFieldSerializer)), 201)
        bodies = self.validated(LeadpushFieldListSerializer)["fields"]
        return Response({"data": self.get_serializer(self._create_all(bodies), many=True).data}, status=201)

    @transaction.atomic
    def _create_all(self, bodies: Sequence[Mapping[str, Any]]) -> list[Field]:
        return [self._create(body) for body in bodies]

    def _create(self, body: Mapping[str, Any]) -> Field:
        return create_field(self.workspace.id, body["name"], body["type"], body.get("format"))

    @document("Get field", {200: _FIELD_ANSWER})
    @action(detail=False, url_path=_FIELD)
    def retrieve(self, request: Request, field: str, **kwargs: Any) -> Response:
        """Return the field."""
        return self.answer(find_field(self.workspace.id, field))

    @document("Update field", {200: _FIELD_ANSWER}, body=LeadpushFieldSerializer(partial=True))
    @retrieve.mapping.post
    def update(self, request: Request, field: str, **kwargs: Any) -> Response:
        """Change what the body names of the field."""
        row = find_field(self.workspace.id, field)
        body = self.validated(LeadpushFieldSerializer, partial=True)
        if body.get("type", row.type) != row.type:
            raise invalid({"type": ["cannot change: values of it are stored"]})
        wanted_format = body.get("format", row.format)
        return self.answer(update_field(self.workspace, row, name=body.get("name"), format=wanted_format))


class UnknownLeadpushRouteView(UnknownRouteView):
    """Answers what this API does not have, in its own format."""

    error_table = LEADPUSH_ERRORS


def _changes_of(sent: Mapping[str, Any]) -> Any:
    return changes_of(sent["attributes"], sent.get("subscribed"))


def _accepted(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    outcomes[0].recorded()
    return json_answer(204, None)
