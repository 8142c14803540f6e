"""Endpoints of contacts in the native API."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.http.response import HttpResponseBase
from django.utils.module_loading import import_string
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from config.http.spooled_responses import spooled
from config.ids import parse_uuid
from contacts.api.filters import ContactFilterSet
from contacts.api.paging import ContactPagination
from contacts.api.serializers import (
    ContactBodySerializer,
    ContactDetailSerializer,
    ContactPageSerializer,
    ContactSerializer,
    ErasureSerializer,
    MergeBodySerializer,
    MergeSerializer,
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
from contacts.erasure.erasures import erase_person, find_erasure, write_export
from contacts.errors import ContactNotFound
from contacts.merging.merges import find_merge, find_merged_contact, merge_contacts, merges_of, undo_merge
from contacts.models import Contact, ContactQuerySet, Erasure, Merge
from workspaces.api.base import actor_of
from workspaces.api.native import NativeViewSet
from workspaces.api.strict import READ_REFUSALS, read_body
from workspaces.scopes import Need

_SECTIONS = {
    name: Need("GET", scope, f"for `{name}`, else left out", action="retrieve")
    for name, (_, scope) in settings.CONTACT_ANSWER_SECTIONS.items()
}
_FILTERS = {
    name: Need("GET", scope, f"the list is narrowed by `{name}`", action="list")
    for name, (_, scope) in settings.CONTACT_FILTERS.items()
}
Section = Callable[[UUID, Contact], Any]

ANSWER_SECONDS: Final = 5.0
"""How long the answer to an erasure waits for the rows to be removed."""
_EVERYTHING = "contacts:read events:read scoring:read segments:read campaigns:read messages:read"


class ContactViewSet(NativeViewSet):
    """The contacts of a workspace."""

    tag = "contacts"
    queryset = Contact.objects.none()
    serializer_class = ContactSerializer
    filterset_class = ContactFilterSet
    pagination_class = ContactPagination
    lookup_url_kwarg = "contact_id"
    scope = "contacts"
    action_scopes = {"export": _EVERYTHING}
    needs = (*_FILTERS.values(), *_SECTIONS.values())

    def get_queryset(self) -> ContactQuerySet:
        """Return the workspace's contacts, without those that became part of another."""
        return Contact.objects.in_workspace(self.workspace.id).canonical()

    @extend_schema(operation_id="listContacts", responses={200: ContactPageSerializer})
    def list(self, request: Request, workspace_id: str) -> Response:
        """List contacts, newest first unless sorted otherwise."""
        for name in _FILTERS.keys() & request.query_params.keys():
            self.need(_FILTERS[name])
        return self.get_paginated_response(self.paginate_queryset(self.filter_queryset(self.get_queryset())))

    @extend_schema(
        operation_id="createContact", request=ContactBodySerializer, responses={201: ContactSerializer}
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a contact; tags that do not exist yet are created with it."""
        changes = changes_from(read_body(ContactBodySerializer, request))
        contact = create_contact(self.workspace, changes)
        return Response(ContactSerializer(contact).data, status=201)

    @extend_schema(operation_id="getContact", responses={200: ContactDetailSerializer})
    def retrieve(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Return a contact with its identities, consents, tags and last 50 events."""
        contact = self.get_object()
        more = {
            name: _section(path)(self.workspace.id, contact)
            for name, (path, scope) in settings.CONTACT_ANSWER_SECTIONS.items()
            if self.may(scope)
        }
        return Response({**ContactSerializer(contact).data, **more})

    @extend_schema(
        operation_id="updateContact", request=ContactBodySerializer, responses={200: ContactSerializer}
    )
    def partial_update(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Change what the body names; attributes are set key by key, a list of tags replaces the tags."""
        attrs = read_body(ContactBodySerializer, request)
        contact = _change(self.workspace.id, self.get_object(), attrs)
        return Response(ContactSerializer(contact).data)

    @extend_schema(operation_id="deleteContact", responses={204: None, **READ_REFUSALS})
    def destroy(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Delete a contact."""
        delete_contact(self.workspace.id, self.get_object())
        return Response(status=204)

    @extend_schema(operation_id="mergeContact", request=MergeBodySerializer, responses={201: MergeSerializer})
    @action(detail=True, methods=["post"])
    def merge(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Merge another contact into this one: it reads as this one until the merge is undone."""
        other = read_body(MergeBodySerializer, request)["contactId"]
        kept = self.get_object()
        if parse_uuid(other) is None:
            raise ContactNotFound
        # The very contact of this id: to merge one twice is refused.
        merged = find_merged_contact(self.workspace, other)
        merge = merge_contacts(self.workspace.id, kept, merged, by=actor_of(request))
        return Response(MergeSerializer(merge).data, status=201)

    @extend_schema(operation_id="listMerges", responses={200: MergeSerializer(many=True)})
    @action(detail=True, pagination_class=None, filterset_class=None)
    def merges(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """List the merges of a contact, those that were undone too, the latest first."""
        return Response(MergeSerializer(merges_of(self.workspace.id, self.get_object()), many=True).data)

    @extend_schema(
        operation_id="exportContact", responses={200: OpenApiResponse({"type": "object"}, "table by table")}
    )
    @action(detail=True)
    def export(self, request: Request, workspace_id: str, contact_id: str) -> HttpResponseBase:
        """Return all that is stored about a person, whoever was merged into it too."""
        return spooled(partial(write_export, self.workspace.id, self.get_object()))

    # Nor could it be answered once: rows go in transactions of their own, for which no other contact waits.
    @extend_schema(
        operation_id="eraseContact", request=None, responses={200: ErasureSerializer, **READ_REFUSALS}
    )
    @action(detail=True, methods=["post"], repeats_harmlessly="who is erased is unknown to a repeat")
    def erase(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Remove everything about a person for good; its identifiers are not stored again.

        Whoever has very many rows is gone with the answer, and the rows some moments later.
        """
        contact, by = self.get_object(), actor_of(request)
        erasure = erase_person(self.workspace.id, contact, by=by, at_most_seconds=ANSWER_SECONDS)
        return Response(ErasureSerializer(erasure).data)

    def get_object(self) -> Contact:
        """Return the contact that the address names, through what it was merged into. Raises ContactNotFound."""
        text = self.kwargs["contact_id"]
        if parse_uuid(text) is None:
            raise ContactNotFound
        return find_contact(self.workspace, text)


class MergeViewSet(NativeViewSet):
    """A merge of two contacts."""

    tag = "contacts"
    queryset = Merge.objects.none()
    serializer_class = MergeSerializer
    lookup_url_kwarg = "merge_id"
    scope = "contacts"

    @extend_schema(operation_id="undoMerge", request=None, responses={200: MergeSerializer})
    @action(detail=True, methods=["post"])
    def undo(self, request: Request, workspace_id: str, merge_id: str) -> Response:
        """Part the two contacts again; merges are undone in any order."""
        merge = undo_merge(self.workspace.id, find_merge(self.workspace.id, parse_uuid(merge_id)))
        return Response(MergeSerializer(merge).data)


class ErasureViewSet(NativeViewSet):
    """The receipts of erasures."""

    tag = "contacts"
    queryset = Erasure.objects.none()
    serializer_class = ErasureSerializer
    lookup_url_kwarg = "erasure_id"
    scope = "contacts"

    @extend_schema(operation_id="getErasure")
    def retrieve(self, request: Request, workspace_id: str, erasure_id: str) -> Response:
        """Return a receipt: what was removed where."""
        return Response(ErasureSerializer(find_erasure(self.workspace.id, parse_uuid(erasure_id))).data)


@transaction.atomic
def _change(workspace_id: UUID, contact: Contact, attrs: dict[str, Any]) -> Contact:
    """Set what the body names: a null takes the identifier away, a list of tags replaces the tags."""
    contact = update_contact(workspace_id, contact, changes_from(attrs))
    if attrs.get("tags", False) is not False:
        gone = set(contact.tag_names) - set(attrs["tags"] or ())
        contact = untag_contact(workspace_id, contact, *gone)
    for kind in emptied_identifiers(attrs):
        contact = clear_identifier(workspace_id, contact, kind)
    return contact


def _section(path: str) -> Section:
    section: Section = import_string(path)
    return section
