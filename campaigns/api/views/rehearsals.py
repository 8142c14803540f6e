"""Endpoints of rehearsals: try a campaign on the past."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.lookup import find_campaign
from campaigns.api.serializers.rehearsals import (
    RehearsalBodySerializer,
    RehearsalSerializer,
    RehearsedEnrollmentSerializer,
)
from campaigns.api.views.campaigns import domain_errors_as_fields
from campaigns.errors import InvalidRehearsal, RehearsalNotFound
from campaigns.models import Rehearsal, RehearsedEnrollment
from campaigns.rehearsal.rehearsals import DRAFT, order_rehearsal
from workspaces.api.base import actor_of
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination
from workspaces.api.strict import read_body


class RehearsalViewSet(NativeViewSet):
    """The rehearsals of a campaign."""

    tag = "campaigns"
    queryset = Rehearsal.objects.none()
    serializer_class = RehearsalSerializer
    pagination_class = KeysetPagination
    lookup_url_kwarg = "rehearsal_id"
    not_found = RehearsalNotFound
    scope = "campaigns"
    action_scopes = {"enrollments": "campaigns:read contacts:read"}

    def get_queryset(self) -> QuerySet[Rehearsal]:
        """Return the campaign's rehearsals. Raises CampaignNotFound."""
        campaign = find_campaign(self.workspace.id, self.kwargs["campaign_id"])
        return Rehearsal.objects.in_workspace(self.workspace.id).filter(campaign_id=campaign.id)

    @extend_schema(operation_id="listRehearsals")
    def list(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """List a campaign's rehearsals with their reports, newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(RehearsalSerializer(page, many=True).data)

    @extend_schema(
        operation_id="rehearseCampaign", request=RehearsalBodySerializer, responses={202: RehearsalSerializer}
    )
    def create(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Rehearse a campaign over a period of the past; a worker runs it, and writes nothing but the report."""
        campaign = find_campaign(self.workspace.id, campaign_id)
        body = read_body(RehearsalBodySerializer, request)
        with domain_errors_as_fields():
            try:
                rehearsal = order_rehearsal(
                    campaign,
                    body["from"],
                    body["to"],
                    [_version(text) for text in body.get("versions") or ()],
                    actor=actor_of(request),
                )
            except InvalidRehearsal as error:
                field = {"until": "to", "since": "from"}.get(error.field, error.field)
                raise ValidationError({field: [error.message]}) from error
        return Response(RehearsalSerializer(rehearsal).data, status=202)

    @extend_schema(operation_id="getRehearsal")
    def retrieve(self, request: Request, workspace_id: str, campaign_id: str, rehearsal_id: str) -> Response:
        """Return a rehearsal with its progress, and its report once it is done."""
        return Response(RehearsalSerializer(self.get_object()).data)

    @extend_schema(
        operation_id="listRehearsedEnrollments", responses=RehearsedEnrollmentSerializer(many=True)
    )
    @action(detail=True, methods=["get"], pagination_class=KeysetPagination)
    def enrollments(
        self, request: Request, workspace_id: str, campaign_id: str, rehearsal_id: str
    ) -> Response:
        """List who would have entered, newest first, each with the way and the messages."""
        rows = RehearsedEnrollment.objects.in_workspace(self.workspace.id).filter(rehearsal=self.get_object())
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(RehearsedEnrollmentSerializer(page, many=True).data)


def _version(text: str) -> str | int:
    """Return `draft` or the number of a version. Raises InvalidRehearsal."""
    if text == DRAFT:
        return text
    if not text.isascii() or not text.isdigit():
        raise InvalidRehearsal("versions", f"There is no version {text}.")
    return int(text)
