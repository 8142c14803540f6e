"""Contacts in the native format."""

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from config.ids import parse_uuid
from contacts.api.filters import ContactFilterSet
from contacts.api.paging import MAX_LIMIT, SORTS, page_request, select_page, total_of
from contacts.api.presentation import detail, row
from contacts.api.serializers import (
    ContactBodySerializer,
    ContactDetailSerializer,
    ContactPageSerializer,
    ContactSerializer,
    changes_from,
    emptied_identifiers,
)
from contacts.crud import (
    clear_identifier,
    create_contact,
    delete_contact,
    find_contact,
    untag_contact,
    update_contact,
)
from contacts.errors import ContactNotFound
from contacts.models import Contact, ContactQuerySet
from contacts.queries import with_details
from workspaces.api.native import NativeViewSet
from workspaces.api.strict import READ_REFUSALS, WRITE_REFUSALS, read_body
from workspaces.models import Workspace
from workspaces.scopes import Need

_SECTIONS = {
    name: Need("GET", scope, f"for `{name}`, else left out", action="retrieve")
    for name, (_, scope) in settings.CONTACT_ANSWER_SECTIONS.items()
}
_FILTERS = {
    name: Need("GET", scope, f"the list is narrowed by `{name}`", action="list")
    for name, (_, scope) in settings.CONTACT_FILTERS.items()
}
Section = Callable[[Workspace, Contact], Any]

_PAGE_PARAMETERS = [
    OpenApiParameter("page", int, description="from 1 on"),
    OpenApiParameter("limit", int, description=f"1 to {MAX_LIMIT}, 50 by default"),
    OpenApiParameter("sortBy", str, enum=list(SORTS)),
    OpenApiParameter("sortOrder", str, enum=["asc", "desc"]),
    OpenApiParameter("after", str, description="page by key: `pagination.next` of the page before"),
]


class ContactViewSet(NativeViewSet):
    """The contacts of a workspace."""

    queryset = Contact.objects.none()
    serializer_class = ContactSerializer
    filterset_class = ContactFilterSet
    pagination_class = None
    lookup_url_kwarg = "contact_id"
    parameters = _PAGE_PARAMETERS
    scopes = {
        "GET": "contacts:read",
        "POST": "contacts:write",
        "PATCH": "contacts:write",
        "DELETE": "contacts:write",
    }
    needs = (*_FILTERS.values(), *_SECTIONS.values())

    def get_queryset(self) -> ContactQuerySet:
        """Return the workspace's contacts, without those that became part of another."""
        return Contact.objects.in_workspace(self.workspace.id).canonical()

    @extend_schema(
        operation_id="listContacts",
        tags=["contacts"],
        parameters=_PAGE_PARAMETERS,
        responses={200: ContactPageSerializer, **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str) -> Response:
        """List contacts, newest first unless sorted otherwise."""
        for name in _FILTERS.keys() & request.query_params.keys():
            self.need(_FILTERS[name])
        wanted = page_request(request, self.workspace.id)
        contacts = self.filter_queryset(self.get_queryset())
        page, following = select_page(with_details(contacts), wanted)
        total = total_of(contacts)
        pagination = {
            "page": None if wanted.after else wanted.page,
            "limit": wanted.limit,
            "total": total,
            "totalPages": -(-total // wanted.limit),
            "next": following,
        }
        return Response({"data": [row(contact) for contact in page], "pagination": pagination})

    @extend_schema(
        operation_id="createContact",
        tags=["contacts"],
        request=ContactBodySerializer,
        responses={201: ContactSerializer, **WRITE_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a contact; tags that do not exist yet are created with it."""
        changes = changes_from(read_body(ContactBodySerializer, request))
        contact = create_contact(self.workspace, changes)
        return Response(detail(contact), status=201)

    @extend_schema(
        operation_id="getContact",
        tags=["contacts"],
        responses={200: ContactDetailSerializer, **READ_REFUSALS},
    )
    def retrieve(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Return a contact with its identities, consents, tags and last 50 events."""
        contact = self._contact(contact_id)
        more = {
            name: _section(path)(self.workspace, contact)
            for name, (path, scope) in settings.CONTACT_ANSWER_SECTIONS.items()
            if self.may(scope)
        }
        return Response({**detail(contact), **more})

    @extend_schema(
        operation_id="updateContact",
        tags=["contacts"],
        request=ContactBodySerializer,
        responses={200: ContactSerializer, **WRITE_REFUSALS},
    )
    def partial_update(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Change what the body names; attributes are set key by key, a list of tags replaces the tags."""
        attrs = read_body(ContactBodySerializer, request)
        return Response(detail(_change(self.workspace, self._contact(contact_id), attrs)))

    @extend_schema(operation_id="deleteContact", tags=["contacts"], responses={204: None, **READ_REFUSALS})
    def destroy(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Delete a contact."""
        delete_contact(self.workspace, self._contact(contact_id))
        return Response(status=204)

    def _contact(self, text: str) -> Contact:
        """Return the contact that an id means, through what it was merged into. Raises ContactNotFound."""
        if parse_uuid(text) is None:
            raise ContactNotFound
        return find_contact(self.workspace, text)


@transaction.atomic
def _change(workspace: Workspace, contact: Contact, attrs: dict[str, Any]) -> Contact:
    """Set what the body names: a null takes the identifier away, a list of tags replaces the tags."""
    contact = update_contact(workspace, contact, changes_from(attrs))
    if attrs.get("tags", False) is not False:
        gone = set(contact.tag_names) - set(attrs["tags"] or ())
        contact = untag_contact(workspace, contact, *gone)
    for kind in emptied_identifiers(attrs):
        contact = clear_identifier(workspace, contact, kind)
    return contact


def _section(path: str) -> Section:
    section: Section = import_string(path)
    return section
