"""Merges of contacts in the native format."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from config.ids import parse_uuid
from contacts.api.serializers import MergeBodySerializer, MergeSerializer
from contacts.crud import find_contact
from contacts.errors import ContactNotFound
from contacts.merging.merges import find_merge, find_merged_contact, merge_contacts, merges_of, undo_merge
from contacts.models import Contact, Merge
from workspaces.access import Credential
from workspaces.api.native import NativeViewSet
from workspaces.api.strict import READ_REFUSALS, WRITE_REFUSALS, read_body
from workspaces.models import User, Workspace


class ContactMergesViewSet(NativeViewSet):
    """What a contact consists of."""

    queryset = Merge.objects.none()
    serializer_class = MergeSerializer
    pagination_class = None
    lookup_url_kwarg = "contact_id"
    scopes = {"GET": "contacts:read", "POST": "contacts:write"}

    @extend_schema(
        operation_id="mergeContact",
        tags=["contacts"],
        request=MergeBodySerializer,
        responses={201: MergeSerializer, **WRITE_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Merge another contact into this one: it reads as this one until the merge is undone."""
        other = read_body(MergeBodySerializer, request)["contactId"]
        kept = survivor(self.workspace, contact_id)
        if parse_uuid(other) is None:
            raise ContactNotFound
        # The very contact of this id: to merge one twice is refused.
        merge = merge_contacts(
            self.workspace, kept, find_merged_contact(self.workspace, other), by=asker(request)
        )
        return Response(MergeSerializer(merge).data, status=201)

    @extend_schema(
        operation_id="listMerges",
        tags=["contacts"],
        responses={200: MergeSerializer(many=True), **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """List the merges of a contact, those that were undone too, the latest first."""
        merges = merges_of(self.workspace, survivor(self.workspace, contact_id))
        return Response(MergeSerializer(merges, many=True).data)


class MergeViewSet(NativeViewSet):
    """A merge."""

    queryset = Merge.objects.none()
    serializer_class = MergeSerializer
    lookup_url_kwarg = "merge_id"
    scopes = {"POST": "contacts:write"}

    @extend_schema(
        operation_id="undoMerge",
        tags=["contacts"],
        request=None,
        responses={200: MergeSerializer, **WRITE_REFUSALS},
    )
    def undo(self, request: Request, workspace_id: str, merge_id: str) -> Response:
        """Part the two contacts again; merges are undone in any order."""
        merge = undo_merge(self.workspace, find_merge(self.workspace, parse_uuid(merge_id)))
        return Response(MergeSerializer(merge).data)


def survivor(workspace: Workspace, text: str) -> Contact:
    """Return the contact that an id means, through what it was merged into. Raises ContactNotFound."""
    if parse_uuid(text) is None:
        raise ContactNotFound
    return find_contact(workspace, text)


def asker(request: Request) -> str:
    """Return the actor's name: a member's, else the credential's."""
    if isinstance(request.user, User):
        return str(request.user)
    return request.auth.key if isinstance(request.auth, Credential) else ""
