"""Endpoints of enrollments and decisions."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.filters.enrollments import DecisionFilterSet, EnrollmentFilterSet
from campaigns.api.lookup import find_campaign, find_contact_id
from campaigns.api.serializers.enrollments import (
    DecisionSerializer,
    EnrollmentDetailSerializer,
    EnrollmentSerializer,
)
from campaigns.errors import EnrollmentNotFound
from campaigns.journeys.decisions import newest_decisions
from campaigns.models import Campaign, Decision, Enrollment
from contacts.identity.lookup import ids_of
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination

# Each shows whom it is about, and what was seen of them.
_SCOPES = {"GET": "campaigns:read contacts:read"}


class EnrollmentViewSet(NativeViewSet):
    """The enrollments of a campaign."""

    tag = "campaigns"
    queryset = Enrollment.objects.select_related("version")
    not_found = EnrollmentNotFound
    serializer_class = EnrollmentSerializer
    filterset_class = EnrollmentFilterSet
    pagination_class = KeysetPagination
    lookup_url_kwarg = "run_id"
    scopes = _SCOPES

    def get_queryset(self) -> QuerySet[Enrollment]:
        """Return the campaign's enrollments. Raises CampaignNotFound."""
        campaign = find_campaign(self.workspace.id, self.kwargs["campaign_id"])
        enrollments: QuerySet[Enrollment] = super().get_queryset().filter(campaign_id=campaign.id)
        return enrollments

    @extend_schema(operation_id="listCampaignRuns")
    def list(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """List the enrollments of a campaign, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(EnrollmentSerializer(page, many=True).data)

    @extend_schema(operation_id="getCampaignRun", responses={200: EnrollmentDetailSerializer})
    def retrieve(self, request: Request, workspace_id: str, campaign_id: str, run_id: str) -> Response:
        """Return an enrollment with its decisions, oldest first."""
        return Response(EnrollmentDetailSerializer(self.get_object()).data)


class _DecisionViewSet(NativeViewSet):
    tag = "campaigns"
    queryset = Decision.objects.select_related("campaign_set")
    serializer_class = DecisionSerializer
    filterset_class = DecisionFilterSet
    pagination_class: Any = KeysetPagination
    scopes = _SCOPES

    def answer_page(self, decisions: QuerySet[Decision]) -> Response:
        """Return a page of the filtered decisions."""
        page = self.paginate_queryset(self.filter_queryset(decisions))
        return self.get_paginated_response(DecisionSerializer(page, many=True).data)


class CampaignDecisionPagination(KeysetPagination):
    """Pages of the decisions about one campaign, most of which are about several at once."""

    def newest(self, rows: QuerySet[Any], count: int, view: Any) -> list[Any]:
        """Return the newest decisions about the view's campaign."""
        return newest_decisions(view.campaign, rows, count)  # type: ignore[arg-type]  # a DecisionQuerySet


class CampaignDecisionViewSet(_DecisionViewSet):
    """The decisions about a campaign."""

    pagination_class = CampaignDecisionPagination
    campaign: Campaign

    @extend_schema(operation_id="listCampaignDecisions")
    def list(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """List the decisions about a campaign, newest first: also who was not enrolled or sent to, and why."""
        self.campaign = find_campaign(self.workspace.id, campaign_id)
        return self.answer_page(self.get_queryset())


class ContactDecisionViewSet(_DecisionViewSet):
    """The decisions about a contact."""

    @extend_schema(operation_id="listContactDecisions")
    def list(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """List the decisions about a contact, newest first."""
        ids = ids_of(self.workspace.id, find_contact_id(self.workspace.id, contact_id))
        return self.answer_page(self.get_queryset().filter(contact_id__in=ids))
