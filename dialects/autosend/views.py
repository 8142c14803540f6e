"""AutoSend's endpoints: events, their definitions, contacts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Prefetch
from django.db.models.functions import Coalesce
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.errors import DomainError
from config.ids import parse_uuid
from contacts.crud import create_contact, delete_contact, find_contact, upsert_contact
from contacts.errors import ContactNotFound, IdentifierTaken
from contacts.identifiers import normalize_identifier
from contacts.models import Contact, ContactQuerySet, Identifier
from contacts.queries import with_details
from dialects.autosend import openapi
from dialects.autosend.errors import error_table, send_error_table
from dialects.autosend.mapping import MAX_DEFINITIONS, WIRE_OF_TYPE
from dialects.autosend.shapes import (
    SentContact,
    parse_bulk,
    parse_contact,
    parse_definition,
    parse_definition_changes,
    parse_emails,
    parse_send,
    render_contact,
    render_definition,
    render_event,
)
from events.api.ingest import IngestView, json_answer
from events.errors import DefinitionNotFound
from events.models import EventDefinition, EventProperty
from events.stream.definitions import PropertySpec, create_definition, delete_definition, replace_definition
from events.stream.group_commit import Submission
from events.stream.idempotency import Answer
from events.stream.types import Outcome, SchemaPolicy
from workspaces.api.base import ErrorTableMixin, WorkspaceAPIView, object_body
from workspaces.authentication.schemes import BearerAuthentication
from workspaces.models import Workspace

# "2 requests per second", counted in a window of a minute: the headers say 120.
VENDOR_RATE = "120/minute"


@openapi.SEND_EVENT
class SendEventView(IngestView):
    """Records an event for a contact who is known already."""

    authentication_classes = (BearerAuthentication,)
    error_table = send_error_table
    vendor_rate = VENDOR_RATE
    scopes = {"POST": "events:write"}

    def submission(self, request: Request, **kwargs: Any) -> Submission:
        """Record the event and return it with its values as they were coerced."""
        incoming = parse_send(object_body(request))
        return self.submission_of(request, [incoming], SchemaPolicy.DECLARED, _created)


class AutoSendView(WorkspaceAPIView):
    """A view of the project that the key belongs to."""

    authentication_classes = (BearerAuthentication,)
    error_table = error_table
    vendor_rate = VENDOR_RATE


class DefinitionsAccess(AutoSendView):
    """A view of event definitions."""

    scopes = {
        "GET": "definitions:read",
        "POST": "definitions:write",
        "PATCH": "definitions:write",
        "DELETE": "definitions:write",
    }


@openapi.DEFINITIONS
class DefinitionsView(DefinitionsAccess):
    """Lists and declares events."""

    def get(self, request: Request) -> Response:
        """List the declared events, newest first."""
        definitions = _definitions(self.workspace).order_by("-created_at", "-id")
        return Response(_enveloped({"events": [render_definition(each) for each in definitions]}))

    def post(self, request: Request) -> Response:
        """Declare an event."""
        sent = parse_definition(object_body(request))
        create_definition(
            self.workspace,
            sent.name,
            description=sent.description or "",
            properties=sent.properties or (),
            limit=MAX_DEFINITIONS,
        )
        return Response(_enveloped(render_definition(_definition(self.workspace, sent.name))), status=201)


@openapi.DEFINITION
class DefinitionView(DefinitionsAccess):
    """Shows, changes and deletes one declared event."""

    def get(self, request: Request, name: str) -> Response:
        """Return the definition."""
        return Response(_enveloped(render_definition(_definition(self.workspace, name))))

    def patch(self, request: Request, name: str) -> Response:
        """Set the description, replace the properties, or both."""
        sent = parse_definition_changes(object_body(request), name)
        definition = _definition(self.workspace, name)
        replace_definition(
            definition,
            description=sent.description,
            properties=None if sent.properties is None else _with_kept_types(definition, sent.properties),
            keep_types=True,
        )
        return Response(_enveloped(render_definition(_definition(self.workspace, name))))

    def delete(self, request: Request, name: str) -> Response:
        """Delete the definition and return it: its client takes an answer without a body for a failure."""
        definition = _definition(self.workspace, name)
        answer = render_definition(definition)
        delete_definition(definition)
        return Response(_enveloped(answer))


class ContactsAccess(AutoSendView):
    """A view of contacts."""

    scopes = {"GET": "contacts:read", "POST": "contacts:write", "DELETE": "contacts:write"}


@openapi.CREATE_CONTACT
class ContactsView(ContactsAccess):
    """Creates contacts."""

    def post(self, request: Request) -> Response:
        """Create a contact, unless there is one."""
        sent = parse_contact(object_body(request))
        contact = create_contact(self.workspace, sent.changes)
        return Response(_enveloped(render_contact(contact)), status=201)


@openapi.UPSERT_CONTACT
class UpsertContactView(ContactsAccess):
    """Creates contacts or changes them."""

    def post(self, request: Request) -> Response:
        """Change the contact with this address, or create it."""
        contact = _upsert(self.workspace, parse_contact(object_body(request)))
        return Response(_enveloped(render_contact(contact)))


@openapi.CONTACT
class ContactView(ContactsAccess):
    """Shows and deletes one contact."""

    def get(self, request: Request, contact_id: str) -> Response:
        """Return the contact."""
        return Response(_enveloped(render_contact(_contact(self.workspace, contact_id))))

    def delete(self, request: Request, contact_id: str) -> Response:
        """Delete the contact; its events stay."""
        delete_contact(self.workspace, _contact(self.workspace, contact_id))
        return Response({"success": True})


@openapi.DELETE_CONTACT_BY_USER_ID
class ContactByUserIdView(ContactsAccess):
    """Deletes a contact by the client's own id."""

    def delete(self, request: Request, user_id: str) -> Response:
        """Delete the contact with this userId."""
        contact = _known_by(self.workspace, Identifier.EXTERNAL_ID, [user_id]).first()
        if contact is None:
            raise ContactNotFound
        delete_contact(self.workspace, contact)
        return Response({"success": True})


@openapi.REMOVE_CONTACTS
class RemoveContactsView(ContactsAccess):
    """Deletes contacts by address."""

    def post(self, request: Request) -> Response:
        """Delete those of the contacts that exist, all or none."""
        emails = parse_emails(request.data)
        with transaction.atomic():
            for contact in _known_by(self.workspace, Identifier.EMAIL, emails).order_by("id"):
                delete_contact(self.workspace, contact)
        return Response({"success": True})


@openapi.SEARCH_CONTACTS
class SearchContactsView(ContactsAccess):
    """Finds contacts by address."""

    scopes = {"POST": "contacts:read"}
    repeats_harmlessly = "finds, and changes nothing"

    def post(self, request: Request) -> Response:
        """Return those of the contacts that exist."""
        found = with_details(_known_by(self.workspace, Identifier.EMAIL, parse_emails(request.data)))
        contacts = [render_contact(contact) for contact in found.order_by("created_at", "id")]
        return Response(_enveloped({"contacts": contacts}))


@openapi.BULK_UPDATE
class BulkUpdateView(ContactsAccess):
    """Creates and changes many contacts."""

    def post(self, request: Request) -> Response:
        """Upsert each contact on its own; `errors`, our addition, names those that failed."""
        contacts = parse_bulk(object_body(request))
        refusals = [self._refusal_of(contact) for contact in contacts]
        errors = [
            {"index": index, **refusal} for index, refusal in enumerate(refusals) if refusal is not None
        ]
        answer: dict[str, Any] = {
            "successCount": len(contacts) - len(errors),
            "failedCount": len(errors),
            "totalCount": len(contacts),
        }
        return Response(_enveloped({**answer, "errors": errors} if errors else answer))

    def _refusal_of(self, contact: Any) -> dict[str, Any] | None:
        try:
            _upsert(self.workspace, parse_contact(contact))
        except DomainError as error:
            problem = error_table.problem(error)
            assert problem is not None  # noqa: S101  (every DomainError is one)
            refusal: dict[str, Any] = error_table.response(problem).data["error"]
            return refusal
        return None


@openapi.UNSUBSCRIBE_GROUPS
class UnsubscribeGroupsView(ContactsAccess):
    """Shows which groups of mails a contact has left."""

    def get(self, request: Request, contact_id: str) -> Response:
        """Return no groups: there are none yet."""
        _contact(self.workspace, contact_id)
        return Response(_enveloped([]))


class UnknownRouteView(ErrorTableMixin, APIView):
    """Answers what this API does not have, in its own format."""

    error_table = error_table
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse every method."""
        raise NotFound


def _created(outcomes: Sequence[Outcome], contacts: Mapping[UUID, Any]) -> Answer:
    return json_answer(201, _enveloped(render_event(outcomes[0].recorded())))


def _enveloped(data: object) -> dict[str, Any]:
    return {"success": True, "data": data}


def _definitions(workspace: Workspace) -> Any:
    declared = EventProperty.objects.filter(workspace_id=workspace.id, is_declared=True)
    return (
        EventDefinition.objects.in_workspace(workspace.id)
        .active()
        .declared()
        .prefetch_related(Prefetch("properties", declared))
    )


def _definition(workspace: Workspace, name: str) -> EventDefinition:
    definition: EventDefinition | None = _definitions(workspace).filter(name=name).first()
    if definition is None:
        raise DefinitionNotFound(name)
    return definition


def _with_kept_types(definition: EventDefinition, specs: list[PropertySpec]) -> list[PropertySpec]:
    """Keep the finer type of a property where this format has only one word for both."""
    types = {row.name: EventProperty.Type(row.type) for row in definition.properties.all()}
    return [
        replace(spec, type=types[spec.name])
        if spec.name in types
        and WIRE_OF_TYPE[types[spec.name]] == WIRE_OF_TYPE[EventProperty.Type(spec.type)]
        else spec
        for spec in specs
    ]


def _contact(workspace: Workspace, contact_id: str) -> Contact:
    # By id only: this API does not look a contact up by its address.
    if parse_uuid(contact_id) is None:
        raise ContactNotFound
    return find_contact(workspace, contact_id)


def _known_by(workspace: Workspace, kind: str, values: list[str]) -> ContactQuerySet:
    normalized = [normalize_identifier(kind, value) for value in values]
    known = Identifier.objects.filter(
        workspace_id=workspace.id, kind=kind, value__in=[value for value in normalized if value is not None]
    )
    persons = known.values_list(Coalesce("contact__merged_into_id", "contact_id"))
    return Contact.objects.in_workspace(workspace.id).canonical().filter(id__in=persons)


@transaction.atomic
def _upsert(workspace: Workspace, sent: SentContact) -> Contact:
    contact, _ = upsert_contact(workspace, Identifier.EMAIL, sent.email, sent.changes)
    user_id = normalize_identifier(Identifier.EXTERNAL_ID, sent.user_id)
    if user_id is not None and contact.external_id != user_id:
        # The core leaves out what is another's; here that would be a userId dropped in silence.
        raise IdentifierTaken(Identifier.EXTERNAL_ID, user_id)
    return contact
