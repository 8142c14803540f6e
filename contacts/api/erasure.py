"""Erasing persons, and giving out what is known of them, in the native format."""

from functools import partial
from typing import Any, Final

from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from config.http.spooled_responses import spooled
from config.ids import parse_uuid
from contacts.api.merges import asker, survivor
from contacts.erasure.erasures import erase_person, find_erasure, write_export
from contacts.models import Contact, Erasure, ErasureQuerySet
from workspaces.api.fields import MillisecondsField
from workspaces.api.native import NativeViewSet
from workspaces.api.strict import READ_REFUSALS

ANSWER_SECONDS: Final = 5.0
"""How long an answer waits for the rows to be removed."""


class ErasureSerializer(serializers.Serializer[Any]):
    """The receipt of an erasure."""

    id = serializers.UUIDField()
    contactIds = serializers.ListField(child=serializers.UUIDField(), source="contact_ids")
    removed = serializers.DictField(
        child=serializers.IntegerField(), help_text="how many rows of what were removed"
    )
    status = serializers.ChoiceField(
        choices=["running", "done"], help_text="running: the person is gone, and rows are still being removed"
    )
    erasedAt = MillisecondsField(source="erased_at")
    finishedAt = MillisecondsField(source="finished_at", allow_null=True)
    settledAt = MillisecondsField(
        source="settled_at", allow_null=True, help_text="when nothing could come in any more"
    )


class PersonViewSet(NativeViewSet):
    """All that is stored about a person."""

    queryset = Contact.objects.none()
    serializer_class = ErasureSerializer
    lookup_url_kwarg = "contact_id"
    scopes = {
        "GET": "contacts:read events:read scoring:read segments:read campaigns:read messages:read",
        "POST": "contacts:write",
    }
    # Nor could it be answered once: rows go in transactions of their own, for which no other contact waits.
    repeats_harmlessly = "who is erased is unknown to a repeat"

    @extend_schema(
        operation_id="exportContact",
        tags=["contacts"],
        responses={200: OpenApiResponse({"type": "object"}, "table by table"), **READ_REFUSALS},
    )
    def export(self, request: Request, workspace_id: str, contact_id: str) -> HttpResponseBase:
        """Return all that is stored about a person, whoever was merged into it too."""
        return spooled(partial(write_export, self.workspace, survivor(self.workspace, contact_id)))

    @extend_schema(
        operation_id="eraseContact",
        tags=["contacts"],
        request=None,
        responses={200: ErasureSerializer, **READ_REFUSALS},
    )
    def erase(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Remove everything about a person for good; its identifiers are not stored again.

        Whoever has very many rows is gone with the answer, and the rows some moments later.
        """
        contact = survivor(self.workspace, contact_id)
        erasure = erase_person(self.workspace, contact, by=asker(request), at_most_seconds=ANSWER_SECONDS)
        return Response(ErasureSerializer(erasure).data)


class ErasureViewSet(NativeViewSet):
    """The receipts."""

    queryset = Erasure.objects.none()
    serializer_class = ErasureSerializer
    lookup_url_kwarg = "erasure_id"
    scopes = {"GET": "contacts:read"}

    def get_queryset(self) -> ErasureQuerySet:
        """Return the workspace's receipts."""
        return Erasure.objects.in_workspace(self.workspace.id)

    @extend_schema(
        operation_id="getErasure",
        tags=["contacts"],
        responses={200: ErasureSerializer, **READ_REFUSALS},
    )
    def retrieve(self, request: Request, workspace_id: str, erasure_id: str) -> Response:
        """Return a receipt: what was removed where."""
        return Response(ErasureSerializer(find_erasure(self.workspace, parse_uuid(erasure_id))).data)
