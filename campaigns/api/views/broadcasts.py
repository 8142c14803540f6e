"""Endpoints of broadcasts: campaigns started for a segment or a list of contacts."""

from collections.abc import Mapping
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.lookup import find_campaign
from campaigns.api.serializers.broadcasts import (
    BroadcastBodySerializer,
    BroadcastChangesSerializer,
    BroadcastSerializer,
)
from campaigns.api.views.campaigns import DOES, active_definition, domain_errors_as_fields
from campaigns.errors import BroadcastNotFound, InvalidCampaign, StartInPast
from campaigns.journeys.broadcasts import cancel_broadcast, reschedule_broadcast
from campaigns.journeys.definition.references import required_scopes
from campaigns.journeys.lifecycle import broadcast_campaign
from campaigns.models import Broadcast
from config import clock
from config.ids import parse_uuid
from workspaces.api.base import actor_of
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination
from workspaces.api.strict import read_body, refuse_body
from workspaces.scopes import Need

_TO_SEGMENT = Need("POST", "segments:read", "`segmentId` is given", action="create")
_TO_CONTACTS = Need("POST", "contacts:read", "`contactIds` are given", action="create")
_STARTS = Need("POST", *DOES, action="create")


class BroadcastViewSet(NativeViewSet):
    """The broadcasts of a campaign."""

    tag = "campaigns"
    queryset = Broadcast.objects.none()
    serializer_class = BroadcastSerializer
    pagination_class = KeysetPagination
    lookup_url_kwarg = "broadcast_id"
    not_found = BroadcastNotFound
    scope = "campaigns"
    needs = (_TO_SEGMENT, _TO_CONTACTS, _STARTS)

    def get_queryset(self) -> QuerySet[Broadcast]:
        """Return the campaign's broadcasts. Raises CampaignNotFound."""
        campaign = find_campaign(self.workspace.id, self.kwargs["campaign_id"])
        return Broadcast.objects.in_workspace(self.workspace.id).filter(campaign_id=campaign.id)

    @extend_schema(operation_id="listBroadcasts")
    def list(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """List a campaign's broadcasts with their progress, newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(BroadcastSerializer(page, many=True).data)

    @extend_schema(
        operation_id="broadcastCampaign",
        request=BroadcastBodySerializer,
        responses={202: BroadcastSerializer},
    )
    def create(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Start the campaign for a segment or a list of contacts, now or later; a worker enrolls them."""
        campaign = find_campaign(self.workspace.id, campaign_id)
        body = read_body(BroadcastBodySerializer, request)
        for name, need in (("segment_id", _TO_SEGMENT), ("contact_ids", _TO_CONTACTS)):
            if body.get(name) is not None:
                self.need(need)
        self.need(_STARTS, required_scopes(active_definition(campaign)))
        with domain_errors_as_fields():
            broadcast = broadcast_campaign(
                self.workspace.id, campaign, **_addressees(body), actor=actor_of(request)
            )
        return Response(BroadcastSerializer(broadcast).data, status=202)

    @extend_schema(operation_id="getBroadcast")
    def retrieve(self, request: Request, workspace_id: str, campaign_id: str, broadcast_id: str) -> Response:
        """Return a broadcast with its progress and history."""
        return Response(BroadcastSerializer(self.get_object()).data)

    @extend_schema(operation_id="rescheduleBroadcast", request=BroadcastChangesSerializer)
    def partial_update(
        self, request: Request, workspace_id: str, campaign_id: str, broadcast_id: str
    ) -> Response:
        """Reschedule a broadcast; 409 if it has begun."""
        broadcast = self.get_object()
        at = read_body(BroadcastChangesSerializer, request)["at"] or clock.now()
        try:
            broadcast = reschedule_broadcast(self.workspace.id, broadcast.id, at, actor=actor_of(request))
        except StartInPast as error:
            raise ValidationError({"at": [f"{error.message}."]}) from error
        return Response(BroadcastSerializer(broadcast).data)

    @extend_schema(
        operation_id="cancelBroadcast",
        request=None,
        responses={200: BroadcastSerializer},
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, workspace_id: str, campaign_id: str, broadcast_id: str) -> Response:
        """Cancel a broadcast: it enrolls nobody any more, open enrollments go on. 409 if it is finished."""
        broadcast = self.get_object()
        refuse_body(request)
        broadcast = cancel_broadcast(self.workspace.id, broadcast.id, actor=actor_of(request))
        return Response(BroadcastSerializer(broadcast).data)


def _addressees(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return a body as `broadcast_campaign` takes it; what is no contact's id is left out. Raises InvalidCampaign."""
    values = {name: value for name, value in body.items() if value is not None}
    if (text := values.get("segment_id")) is not None:
        values["segment_id"] = parse_uuid(text)
        if values["segment_id"] is None:
            raise InvalidCampaign("segment_id", "There is no such segment.")
    if (texts := values.get("contact_ids")) is not None:
        ids = map(parse_uuid, texts)
        values["contact_ids"] = [contact_id for contact_id in ids if contact_id is not None]
    return values
