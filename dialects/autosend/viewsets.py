"""AutoSend's endpoints of events, their definitions and contacts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.db.models import Prefetch, QuerySet
from django.db.models.functions import Coalesce
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, inline_serializer
from msgspec import to_builtins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from config.errors import DomainError
from config.ids import parse_uuid
from contacts.crud import create_contact, delete_contact, find_contact, upsert_contact
from contacts.errors import ContactNotFound, IdentifierTaken
from contacts.identifiers import normalize_identifier
from contacts.models import Contact, ContactQuerySet, Identifier
from contacts.queries import with_details
from dialects.autosend.base import AutoSendAccess, AutoSendViewSet, document, enveloped
from dialects.autosend.errors import error_of, error_table, send_error_table
from dialects.autosend.mapping import MAX_DEFINITIONS, WIRE_OF_TYPE
from dialects.autosend.queries import list_ids_of
from dialects.autosend.serializers import (
    SEND_SCHEMA,
    AutoSendBulkBodySerializer,
    AutoSendContactBodySerializer,
    AutoSendContactSerializer,
    AutoSendCountsSerializer,
    AutoSendDefinitionBodySerializer,
    AutoSendDefinitionChangesSerializer,
    AutoSendDefinitionSerializer,
    AutoSendDoneSerializer,
    AutoSendEmailsSerializer,
    AutoSendGroupSerializer,
    SendAnswer,
    changes_of,
    emails_of,
    parse_send,
    render_event,
    spec_of,
)
from dialects.autosend.unsubscribe_groups import unsubscribe_groups_of
from dialects.fallback import UnknownRouteView
from events.api.ingest import IngestViewSet, json_answer
from events.api.shapes import json_schema
from events.errors import DefinitionNotFound
from events.models import Event, EventDefinition, EventProperty
from events.stream.definitions import PropertySpec, create_definition, delete_definition, replace_definition
from events.stream.group_commit import Submission
from events.stream.idempotency import Answer
from events.stream.types import Outcome, SchemaPolicy
from segments.static_members import add_members
from workspaces.api.base import object_body
from workspaces.api.openapi import component
from workspaces.scopes import Need

_NO_CONTACT = {404: "No such contact"}
_NO_EVENT = {404: "No such event"}
_TAKEN = {409: "Another contact has this email or userId"}


_DEFINITION = enveloped("Definition", AutoSendDefinitionSerializer())
_DEFINITIONS = enveloped(
    "Definitions",
    inline_serializer("AutoSendDefinitions", {"events": AutoSendDefinitionSerializer(many=True)}),
)
_CONTACT = enveloped("Contact", AutoSendContactSerializer())
_CONTACTS = enveloped(
    "Contacts", inline_serializer("AutoSendContacts", {"contacts": AutoSendContactSerializer(many=True)})
)
_COUNTS = enveloped("Counts", AutoSendCountsSerializer())
_GROUPS = enveloped("UnsubscribeGroups", AutoSendGroupSerializer(many=True))
_LISTING = Need("POST", "segments:write", "where `listIds` names a list")


class SendViewSet(AutoSendAccess, IngestViewSet):
    """Events of contacts who are known already."""

    queryset = Event.objects.none()
    error_table = send_error_table
    scopes = {"POST": "events:write"}

    @document(
        "Record an event for a contact",
        component("AutoSendEventAnswer", json_schema(SendAnswer)),
        {404: "No such contact, or no such event", 409: "The Idempotency-Key stands for another request"},
        status=201,
        body=component("AutoSendSendBody", SEND_SCHEMA),
        parameters=[OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER)],
    )
    @action(detail=False, methods=["post"], url_path="events/send", url_name="autosend-send")
    def send_event(self, request: Request) -> HttpResponse:
        """Record the event and return it with its values as they were coerced."""
        return self.record(request, self._submission)

    def _submission(self, request: Request) -> Submission:
        """Return the event of the body; only declared events and properties exist here."""
        incoming = parse_send(object_body(request))
        return self.submission_of(request, [incoming], SchemaPolicy.DECLARED, _created)


def _created(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    return json_answer(201, to_builtins(SendAnswer(success=True, data=render_event(outcomes[0].recorded()))))


class DefinitionViewSet(AutoSendViewSet):
    """Declared events and their properties."""

    queryset = EventDefinition.objects.none()
    serializer_class = AutoSendDefinitionSerializer
    scopes = {
        "GET": "definitions:read",
        "POST": "definitions:write",
        "PATCH": "definitions:write",
        "DELETE": "definitions:write",
    }

    def get_queryset(self) -> QuerySet[EventDefinition]:
        """Return the declared events with their declared properties."""
        declared = EventProperty.objects.in_workspace(self.workspace.id).filter(is_declared=True)
        definitions = EventDefinition.objects.in_workspace(self.workspace.id).active().declared()
        return definitions.prefetch_related(Prefetch("properties", declared))

    @document("List the events, newest first", _DEFINITIONS)
    @action(detail=False, url_path="events", url_name="autosend-definitions")
    def list_definitions(self, request: Request) -> Response:
        """List the declared events, newest first."""
        definitions = self.get_queryset().order_by("-created_at", "-id")
        return self.answer({"events": self.get_serializer(definitions, many=True).data})

    @document(
        "Declare an event",
        _DEFINITION,
        {403: "The key lacks the scope, or 100 events are declared already", 409: "The event exists"},
        status=201,
        body=AutoSendDefinitionBodySerializer,
    )
    @list_definitions.mapping.post
    def create(self, request: Request) -> Response:
        """Declare an event."""
        sent = AutoSendDefinitionBodySerializer.read(object_body(request))
        create_definition(
            self.workspace.id,
            sent["eventName"],
            description=sent.get("description") or "",
            properties=[spec_of(each) for each in sent.get("properties") or ()],
            limit=MAX_DEFINITIONS,
        )
        return self._answer_definition(sent["eventName"], 201)

    @document("Get an event", _DEFINITION, _NO_EVENT)
    @action(detail=False, url_path=r"events/eventName/(?P<name>.*[^/])", url_name="autosend-definition")
    def retrieve(self, request: Request, name: str) -> Response:
        """Return the definition."""
        return self._answer_definition(name)

    @document(
        "Change an event; given properties replace the schema",
        _DEFINITION,
        _NO_EVENT,
        {409: "The type of a property cannot change"},
        body=AutoSendDefinitionChangesSerializer,
    )
    @retrieve.mapping.patch
    def update(self, request: Request, name: str) -> Response:
        """Set the description, replace the properties, or both."""
        sent = AutoSendDefinitionChangesSerializer.read(object_body(request), name=name)
        definition, properties = self._definition(name), sent.get("properties")
        replace_definition(
            definition,
            description=(sent["description"] or "") if "description" in sent else None,
            properties=None if properties is None else _with_kept_types(definition, properties),
            keep_types=True,
        )
        return self._answer_definition(name)

    @document("Delete an event; its logs stay", _DEFINITION, _NO_EVENT)
    @retrieve.mapping.delete
    def destroy(self, request: Request, name: str) -> Response:
        """Delete the definition and return it: its client takes an answer without a body for a failure."""
        definition = self._definition(name)
        answer = self.answer(self.get_serializer(definition).data)
        delete_definition(definition)
        return answer

    def _definition(self, name: str) -> EventDefinition:
        definition = self.get_queryset().filter(name=name).first()
        if definition is None:
            raise DefinitionNotFound
        return definition

    def _answer_definition(self, name: str, status: int = 200) -> Response:
        return self.answer(self.get_serializer(self._definition(name)).data, status)


def _with_kept_types(definition: EventDefinition, sent: Sequence[Mapping[str, Any]]) -> list[PropertySpec]:
    """Keep the finer type of a property where this format has only one word for both."""
    types = {row.name: EventProperty.Type(row.type) for row in definition.properties.all()}
    return [
        replace(spec, type=types[spec.name])
        if spec.name in types
        and WIRE_OF_TYPE[types[spec.name]] == WIRE_OF_TYPE[EventProperty.Type(spec.type)]
        else spec
        for spec in map(spec_of, sent)
    ]


class ContactAccess(AutoSendViewSet):
    """Contacts, by address, id or userId."""

    queryset = Contact.objects.none()
    serializer_class = AutoSendContactSerializer
    scopes: ClassVar[Mapping[str, str]] = {
        "GET": "contacts:read",
        "POST": "contacts:write",
        "DELETE": "contacts:write",
    }

    def known_by(self, kind: str, values: Sequence[str]) -> ContactQuerySet:
        """Return the persons whom identifiers of a kind name."""
        normalized = [normalize_identifier(kind, value) for value in values]
        known = Identifier.objects.in_workspace(self.workspace.id).filter(
            kind=kind, value__in=[value for value in normalized if value is not None]
        )
        persons = known.values_list(Coalesce("contact__merged_into_id", "contact_id"))
        return Contact.objects.in_workspace(self.workspace.id).canonical().filter(id__in=persons)

    def contact_of(self, contact_id: str) -> Contact:
        """Return a contact by its id only: this API does not look one up by its address."""
        if parse_uuid(contact_id) is None:
            raise ContactNotFound
        return find_contact(self.workspace, contact_id)

    def rendered(self, contacts: Sequence[Contact]) -> list[dict[str, Any]]:
        """Return contacts with their lists, as far as the key may read segments."""
        lists = list_ids_of(self.workspace.id, contacts) if self.may("segments:read") else {}
        context = {**self.get_serializer_context(), "list_ids": lists}
        return [AutoSendContactSerializer(contact, context=context).data for contact in contacts]

    def answer_contact(self, contact: Contact, status: int = 200) -> Response:
        """Answer a contact."""
        (rendered,) = self.rendered([contact])
        return self.answer(rendered, status)


class ContactSearchViewSet(ContactAccess):
    """Finds contacts by address."""

    scopes = {"POST": "contacts:read"}
    repeats_harmlessly = "finds, and changes nothing"

    @document("Find contacts by email", _CONTACTS, body=AutoSendEmailsSerializer)
    @action(detail=False, methods=["post"], url_path="contacts/search/emails", url_name="autosend-search")
    def search(self, request: Request) -> Response:
        """Return those of the contacts that exist."""
        found = with_details(self.known_by(Identifier.EMAIL, emails_of(request.data)))
        contacts = list(found.order_by("created_at", "id"))
        return self.answer({"contacts": self.rendered(contacts)})


class ContactViewSet(ContactAccess):
    """Creates, shows, changes and deletes contacts."""

    needs = (_LISTING,)
    action_scopes = {"unsubscribe_groups": "contacts:read messages:read"}

    @document("Create a contact", _CONTACT, _TAKEN, status=201, body=AutoSendContactBodySerializer)
    @action(detail=False, methods=["post"], url_path="contacts", url_name="autosend-contacts")
    def create(self, request: Request) -> Response:
        """Create a contact, unless there is one."""
        with transaction.atomic():
            sent = self._sent(object_body(request))
            contact = create_contact(self.workspace, changes_of(sent))
            self._add_to_lists(contact, sent)
        return self.answer_contact(contact, 201)

    @document("Create a contact or change it", _CONTACT, _TAKEN, body=AutoSendContactBodySerializer)
    @action(detail=False, methods=["post"], url_path="contacts/email", url_name="autosend-upsert")
    def upsert(self, request: Request) -> Response:
        """Change the contact with this address, or create it."""
        return self.answer_contact(self._upserted(object_body(request)))

    @transaction.atomic
    def _upserted(self, body: Any) -> Contact:
        sent = self._sent(body)
        contact, _ = upsert_contact(self.workspace.id, Identifier.EMAIL, sent["email"], changes_of(sent))
        user_id = normalize_identifier(Identifier.EXTERNAL_ID, sent.get("userId") or None)
        if user_id is not None and contact.external_id != user_id:
            # The core leaves out what is another's; here that would be a userId dropped in silence.
            raise IdentifierTaken(Identifier.EXTERNAL_ID, user_id)
        self._add_to_lists(contact, sent)
        return contact

    def _sent(self, body: Any) -> dict[str, Any]:
        if isinstance(body, dict) and body.get("listIds"):
            self.need(_LISTING)
        return AutoSendContactBodySerializer.read(body, workspace_id=self.workspace.id)

    def _add_to_lists(self, contact: Contact, sent: Mapping[str, Any]) -> None:
        for contact_list in sent.get("listIds", ()):
            add_members(self.workspace.id, contact_list, contact_ids=[contact.id])

    @document("Delete contacts by email", AutoSendDoneSerializer, body=AutoSendEmailsSerializer)
    @action(detail=False, methods=["post"], url_path="contacts/remove", url_name="autosend-remove")
    def remove(self, request: Request) -> Response:
        """Delete those of the contacts that exist, all or none."""
        emails = emails_of(request.data)
        with transaction.atomic():
            for contact in self.known_by(Identifier.EMAIL, emails).order_by("id"):
                delete_contact(self.workspace.id, contact)
        return Response({"success": True})

    @document("Create or change up to 100 contacts", _COUNTS, body=AutoSendBulkBodySerializer)
    @action(detail=False, methods=["post"], url_path="contacts/bulk-update", url_name="autosend-bulk-update")
    def bulk_update(self, request: Request) -> Response:
        """Upsert each contact on its own; `errors`, our addition, names those that failed."""
        contacts = AutoSendBulkBodySerializer.read(object_body(request))["contacts"]
        results = [self._error_of(contact) for contact in contacts]
        errors = [{"index": index, **error} for index, error in enumerate(results) if error is not None]
        answer: dict[str, Any] = {
            "successCount": len(contacts) - len(errors),
            "failedCount": len(errors),
            "totalCount": len(contacts),
        }
        return self.answer({**answer, "errors": errors} if errors else answer)

    def _error_of(self, body: Any) -> dict[str, Any] | None:
        try:
            self._upserted(body)
        except DomainError as error:
            return error_of(error)
        return None

    @document("Delete a contact by userId", AutoSendDoneSerializer, _NO_CONTACT)
    @action(
        detail=False,
        methods=["delete"],
        url_path=r"contacts/email/userId/(?P<user_id>.*[^/])",
        url_name="autosend-contact-by-user-id",
    )
    def destroy_by_user_id(self, request: Request, user_id: str) -> Response:
        """Delete the contact with this userId."""
        contact = self.known_by(Identifier.EXTERNAL_ID, [user_id]).first()
        if contact is None:
            raise ContactNotFound
        delete_contact(self.workspace.id, contact)
        return Response({"success": True})

    @document("List the unsubscribe groups of a contact", _GROUPS, _NO_CONTACT)
    @action(
        detail=False,
        url_path=r"contacts/(?P<contact_id>[^/]+)/unsubscribe-groups",
        url_name="autosend-unsubscribe-groups",
    )
    def unsubscribe_groups(self, request: Request, contact_id: str) -> Response:
        """Return the groups that the contact is in, by its address and its consent."""
        groups = unsubscribe_groups_of(self.contact_of(contact_id))
        return self.answer(AutoSendGroupSerializer(groups, many=True).data)

    @document("Get a contact", _CONTACT, _NO_CONTACT)
    @action(detail=False, url_path=r"contacts/(?P<contact_id>[^/]+)", url_name="autosend-contact")
    def retrieve(self, request: Request, contact_id: str) -> Response:
        """Return the contact."""
        return self.answer_contact(self.contact_of(contact_id))

    @document("Delete a contact", AutoSendDoneSerializer, _NO_CONTACT)
    @retrieve.mapping.delete
    def destroy(self, request: Request, contact_id: str) -> Response:
        """Delete the contact; its events stay."""
        delete_contact(self.workspace.id, self.contact_of(contact_id))
        return Response({"success": True})


class UnknownAutoSendRouteView(UnknownRouteView):
    """Answers what this API does not have, in its own format."""

    error_table = error_table
