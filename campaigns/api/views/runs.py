"""What campaigns did: runs, decisions, and what one event caused."""

from functools import partial

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import presentation
from campaigns.api.filters import DecisionFilterSet, RunFilterSet
from campaigns.api.paging import PAGE_PARAMETERS, campaign_of, contact_of, page_of
from campaigns.api.serializers import (
    DecisionPageSerializer,
    DecisionSerializer,
    RunDetailSerializer,
    RunPageSerializer,
    RunSerializer,
    TraceSerializer,
)
from campaigns.errors import RunNotFound
from campaigns.models import Decision, Run
from campaigns.models.runs import DecisionQuerySet
from campaigns.services.decisions import newest_about
from campaigns.services.tracing import trace_event
from config.ids import NO_ID, parse_uuid
from contacts.services import ids_of
from events.models import Event
from workspaces.api.native import NativeAPIView, NativeViewSet
from workspaces.api.strict import READ_REFUSALS

MOST_DECISIONS = 1_000
# Each shows whom it is about, and what was seen of them.
_SCOPES = {"GET": "campaigns:read contacts:read"}


class RunViewSet(NativeViewSet):
    """The runs of a campaign."""

    queryset = Run.objects.none()
    serializer_class = RunSerializer
    filterset_class = RunFilterSet
    pagination_class = None
    lookup_url_kwarg = "run_id"
    parameters = PAGE_PARAMETERS
    scopes = _SCOPES

    def get_queryset(self) -> QuerySet[Run]:
        """Return the campaign's runs."""
        campaign = campaign_of(self.workspace, self.kwargs["campaign_id"])
        runs = Run.objects.in_workspace(self.workspace.id).filter(campaign_id=campaign.id)
        return runs.select_related("version")

    @extend_schema(
        operation_id="listCampaignRuns",
        tags=["campaigns"],
        parameters=PAGE_PARAMETERS,
        responses={200: RunPageSerializer, **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """List the runs of a campaign, newest first."""
        page, following = page_of(request, self.filter_queryset(self.get_queryset()))
        return Response({"data": presentation.run_rows(self.workspace.id, page), "next": following})

    @extend_schema(
        operation_id="getCampaignRun",
        tags=["campaigns"],
        responses={200: RunDetailSerializer, **READ_REFUSALS},
    )
    def retrieve(self, request: Request, workspace_id: str, campaign_id: str, run_id: str) -> Response:
        """Return a run, and all that was decided on its way, the first first."""
        run = self.get_queryset().filter(id=parse_uuid(run_id) or NO_ID).first()
        if run is None:
            raise RunNotFound
        decisions = Decision.objects.in_workspace(self.workspace.id).filter(run_id=run.id).order_by("id")
        (row,) = presentation.run_rows(self.workspace.id, [run])
        decided = presentation.decision_rows(self.workspace.id, list(decisions[:MOST_DECISIONS]))
        return Response({**row, "decisions": decided})


class _DecisionViewSet(NativeViewSet):
    queryset = Decision.objects.none()
    serializer_class = DecisionSerializer
    filterset_class = DecisionFilterSet
    pagination_class = None
    parameters = PAGE_PARAMETERS
    scopes = _SCOPES

    def get_queryset(self) -> DecisionQuerySet:
        """Return the workspace's decisions."""
        return Decision.objects.in_workspace(self.workspace.id).select_related("campaign_set")


class CampaignDecisionViewSet(_DecisionViewSet):
    """What was decided about a campaign."""

    @extend_schema(
        operation_id="listCampaignDecisions",
        tags=["campaigns"],
        parameters=PAGE_PARAMETERS,
        responses={200: DecisionPageSerializer, **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """List what was decided about a campaign, newest first: also who did not get in or got nothing, and why."""
        newest = partial(newest_about, campaign_of(self.workspace, campaign_id))
        page, following = page_of(request, self.filter_queryset(self.get_queryset()), newest)
        return Response({"data": presentation.decision_rows(self.workspace.id, page), "next": following})


class ContactDecisionViewSet(_DecisionViewSet):
    """What was decided about a contact."""

    @extend_schema(
        operation_id="listContactDecisions",
        tags=["campaigns"],
        parameters=PAGE_PARAMETERS,
        responses={200: DecisionPageSerializer, **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """List what campaigns decided about a contact, newest first."""
        ids = ids_of(self.workspace.id, contact_of(self.workspace, contact_id))
        rows = self.filter_queryset(self.get_queryset()).filter(contact_id__in=ids)
        page, following = page_of(request, rows)
        return Response({"data": presentation.decision_rows(self.workspace.id, page), "next": following})


class TraceView(NativeAPIView):
    """What one event caused."""

    scopes = {
        "GET": "events:read contacts:read scoring:read segments:read campaigns:read messages:read",
    }

    @extend_schema(
        operation_id="traceEvent", tags=["events"], responses={200: TraceSerializer, **READ_REFUSALS}
    )
    def get(self, request: Request, workspace_id: str, event_id: str) -> Response:
        """Return how an event was read, whom it is about, and all that followed from it, each with its time."""
        event = Event.objects.filter(workspace_id=self.workspace.id, id=parse_uuid(event_id) or NO_ID).first()
        if event is None:
            raise NotFound
        return Response(presentation.trace(trace_event(event)))
