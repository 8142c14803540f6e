"""Campaigns: written, started, stopped, executed, and what became of them."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api import presentation
from campaigns.api.filters.campaigns import CampaignFilterSet
from campaigns.api.paging import PAGE_PARAMETERS, campaign_of, contact_of, event_of, page_of
from campaigns.api.serializers.broadcasts import (
    BroadcastBodySerializer,
    BroadcastChangesSerializer,
    BroadcastPageSerializer,
    BroadcastSerializer,
)
from campaigns.api.serializers.campaigns import (
    CampaignBodySerializer,
    CampaignChangesSerializer,
    CampaignSerializer,
    ReportSerializer,
    VersionPageSerializer,
)
from campaigns.api.serializers.enrollments import ExecuteBodySerializer, ExecutedSerializer
from campaigns.errors import BroadcastNotFound, InvalidCampaign, InvalidDefinition, StartInPast
from campaigns.journeys.broadcasts import cancel_broadcast, reschedule_broadcast
from campaigns.journeys.definition import required_scopes
from campaigns.journeys.lifecycle import (
    activate_campaign,
    archive_campaign,
    broadcast_campaign,
    create_campaign,
    delete_campaign,
    execute_campaign,
    finish_campaign,
    pause_campaign,
    resume_campaign,
    start_trial,
    update_campaign,
)
from campaigns.models import Broadcast, Campaign, CampaignVersion, Enrollment
from campaigns.reporting.report import campaign_report
from config import clock
from config.ids import NO_ID, parse_uuid
from contacts.api.merges import asker
from contacts.crud import get_contact
from events.api.parameters import moment_parameter
from workspaces.api.native import NativeAPIView, NativeViewSet
from workspaces.api.strict import READ_REFUSALS, WRITE_REFUSALS, read_body, refuse_body
from workspaces.models import Workspace
from workspaces.scopes import Need

_SCOPES = {
    "GET": "campaigns:read",
    "POST": "campaigns:write",
    "PATCH": "campaigns:write",
    "DELETE": "campaigns:write",
}
_DONE = (
    "messages:write contacts:write contacts:read events:write events:read segments:read",
    "that of these which what the campaign does needs, see below",
)
_DOES, _DOES_CHANGED = (Need(method, *_DONE) for method in ("POST", "PATCH"))
_TO_SEGMENT = Need("POST", "segments:read", "`segmentId` is given")
_TO_CONTACTS = Need("POST", "contacts:read", "`contactIds` are given")
_OF_EVENT = Need("POST", "events:read", "`eventId` is given")
_FROM = Need("PATCH", "messages:write", "`sender` or `replyTo` is given")
# The wire's names of what stands beside the definition.
_NAMES = {
    "name": "name",
    "description": "description",
    "type": "type",
    "priority": "priority",
    "sender": "sender",
    "replyTo": "reply_to",
    "startAt": "starts_at",
    "endAt": "ends_at",
}
_SENDERS = frozenset({"sender", "replyTo"})
_PERIOD = [
    OpenApiParameter(
        "since", str, description="what began from then on: ISO 8601, UTC unless it names a zone"
    ),
    OpenApiParameter("until", str, description="what began before"),
]


class CampaignViewSet(NativeViewSet):
    """The campaigns of a workspace."""

    queryset = Campaign.objects.none()
    serializer_class = CampaignSerializer
    filterset_class = CampaignFilterSet
    pagination_class = None
    lookup_url_kwarg = "campaign_id"
    scopes = _SCOPES
    needs = (_DOES, _DOES_CHANGED, _FROM)

    def get_queryset(self) -> QuerySet[Campaign]:
        """Return the workspace's campaigns, oldest first."""
        return Campaign.objects.in_workspace(self.workspace.id).select_related("version").order_by("id")

    @extend_schema(
        operation_id="listCampaigns",
        tags=["campaigns"],
        responses={200: CampaignSerializer(many=True), **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the campaigns, each with the number of its enrollments and messages."""
        campaigns = list(self.filter_queryset(self.get_queryset()))
        return Response(presentation.campaign_rows(self.workspace.id, campaigns))

    @extend_schema(
        operation_id="createCampaign",
        tags=["campaigns"],
        request=CampaignBodySerializer,
        responses={201: CampaignSerializer, **WRITE_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a campaign; it is a draft, in which something may be missing, until it is activated."""
        wanted = read_body(CampaignBodySerializer, request)
        definition = _definition(wanted, {})
        self.need(_DOES, required_scopes(definition))
        with domain_errors_as_fields():
            campaign = create_campaign(self.workspace, definition=definition, **_values(wanted))
        return Response(presentation.campaign_row(campaign), status=201)

    @extend_schema(
        operation_id="getCampaign", tags=["campaigns"], responses={200: CampaignSerializer, **READ_REFUSALS}
    )
    def retrieve(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Return a campaign with its definition."""
        return Response(presentation.campaign_row(campaign_of(self.workspace, campaign_id)))

    @extend_schema(
        operation_id="updateCampaign",
        tags=["campaigns"],
        request=CampaignChangesSerializer,
        responses={200: CampaignSerializer, **WRITE_REFUSALS},
    )
    def partial_update(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Change what the body names; another definition serves once it is activated, and enrollments keep theirs."""
        campaign = campaign_of(self.workspace, campaign_id)
        wanted = read_body(CampaignChangesSerializer, request)
        definition = _definition(wanted, campaign.draft)
        self.need(_DOES_CHANGED, required_scopes(definition))
        if not _SENDERS.isdisjoint(wanted):
            self.need(_FROM)
        with domain_errors_as_fields():
            campaign = update_campaign(self.workspace, campaign, definition=definition, **_values(wanted))
        return Response(presentation.campaign_row(campaign))

    @extend_schema(operation_id="deleteCampaign", tags=["campaigns"], responses={204: None, **WRITE_REFUSALS})
    def destroy(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Delete a draft that never served; what has served is archived."""
        delete_campaign(self.workspace, campaign_of(self.workspace, campaign_id))
        return Response(status=204)


class _StatusView(NativeAPIView):
    """What starts or stops a campaign."""

    scopes = {"POST": "campaigns:write"}

    def moved(self, campaign_id: str, act: Callable[[Workspace, Campaign], Campaign]) -> Response:
        """Act on the campaign of the address, and answer with it."""
        refuse_body(self.request)
        with domain_errors_as_fields():
            campaign = act(self.workspace, campaign_of(self.workspace, campaign_id))
        return Response(presentation.campaign_row(campaign))


class VersionsView(NativeAPIView):
    """What a campaign did, from one activation to the next."""

    parameters = PAGE_PARAMETERS
    scopes = _SCOPES

    @extend_schema(
        operation_id="listCampaignVersions",
        tags=["campaigns"],
        parameters=PAGE_PARAMETERS,
        responses={200: VersionPageSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """List a campaign's versions with their definitions, newest first, and the enrollments under way on each."""
        campaign = campaign_of(self.workspace, campaign_id)
        versions = CampaignVersion.objects.filter(workspace_id=self.workspace.id, campaign_id=campaign.id)
        page, following = page_of(request, versions)
        return Response({"data": presentation.version_rows(campaign, page), "next": following})


class ActivateView(_StatusView):
    """Definitions that come to serve."""

    needs = (_DOES,)

    @extend_schema(
        operation_id="activateCampaign",
        tags=["campaigns"],
        request=None,
        responses={200: CampaignSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Let the definition serve from now on; enrollments under way keep the one that they began with."""
        self.need(_DOES, required_scopes(campaign_of(self.workspace, campaign_id).draft))
        return self.moved(campaign_id, partial(activate_campaign, actor=asker(request)))


class PauseView(_StatusView):
    """Campaigns that stand still."""

    @extend_schema(
        operation_id="pauseCampaign",
        tags=["campaigns"],
        request=None,
        responses={200: CampaignSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Let nothing start, and leave enrollments where they are."""
        return self.moved(campaign_id, pause_campaign)


class ResumeView(_StatusView):
    """Campaigns that go on."""

    @extend_schema(
        operation_id="resumeCampaign",
        tags=["campaigns"],
        request=None,
        responses={200: CampaignSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Go on as before the pause; what was due meanwhile goes on at once."""
        return self.moved(campaign_id, resume_campaign)


class FinishView(_StatusView):
    """Campaigns that come to their end."""

    @extend_schema(
        operation_id="finishCampaign",
        tags=["campaigns"],
        request=None,
        responses={200: CampaignSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Let nothing start any more; enrollments go on to their end."""
        return self.moved(campaign_id, finish_campaign)


class ArchiveView(_StatusView):
    """Campaigns that are put away."""

    @extend_schema(
        operation_id="archiveCampaign",
        tags=["campaigns"],
        request=None,
        responses={200: CampaignSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Put a campaign away for good: nothing starts, and enrollments end."""
        return self.moved(campaign_id, archive_campaign)


class ExecuteView(NativeAPIView):
    """Campaigns started for one contact."""

    # The answer shows whom it is about.
    scopes = {"POST": "campaigns:write contacts:read"}
    needs = (_OF_EVENT, _DOES)

    @extend_schema(
        operation_id="executeCampaign",
        tags=["campaigns"],
        request=ExecuteBodySerializer,
        responses={200: ExecutedSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Start an enrollment for a contact, if the re-entry lets it in; `isTest` tries out what is written now."""
        campaign = campaign_of(self.workspace, campaign_id)
        wanted = read_body(ExecuteBodySerializer, request)
        if wanted.get("eventId"):
            self.need(_OF_EVENT)
        self.need(_DOES, required_scopes(campaign.draft if wanted["isTest"] else _served(campaign)))
        contact = get_contact(self.workspace.id, contact_of(self.workspace, wanted["contactId"]))
        event = event_of(self.workspace, wanted.get("eventId"))
        if wanted["isTest"]:
            with domain_errors_as_fields():
                entered = start_trial(
                    self.workspace,
                    campaign,
                    contact,
                    event=event,
                    skips_waits=wanted["skipWaits"],
                    actor=asker(request),
                )
        else:
            entered = execute_campaign(self.workspace, campaign, contact, event=event, key=wanted.get("key"))
        enrollment = None
        if entered.enrollment_id is not None:
            enrollments = Enrollment.objects.in_workspace(self.workspace.id).select_related("version")
            (enrollment,) = presentation.enrollment_rows(
                self.workspace.id, [enrollments.get(id=entered.enrollment_id)]
            )
        return Response(
            {"entered": enrollment is not None, "reason": entered.reason or None, "run": enrollment}
        )


class BroadcastsView(NativeAPIView):
    """Campaigns started for many."""

    parameters = PAGE_PARAMETERS
    scopes = _SCOPES
    needs = (_TO_SEGMENT, _TO_CONTACTS, _DOES)

    @extend_schema(
        operation_id="listBroadcasts",
        tags=["campaigns"],
        parameters=PAGE_PARAMETERS,
        responses={200: BroadcastPageSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """List a campaign's broadcasts, newest first, and how far they are."""
        campaign = campaign_of(self.workspace, campaign_id)
        broadcasts = Broadcast.objects.filter(workspace_id=self.workspace.id, campaign_id=campaign.id)
        page, following = page_of(request, broadcasts)
        return Response({"data": [presentation.broadcast_row(one) for one in page], "next": following})

    @extend_schema(
        operation_id="broadcastCampaign",
        tags=["campaigns"],
        request=BroadcastBodySerializer,
        responses={202: BroadcastSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Start enrollments for all who are in a segment, or for a list, now or at a moment; a worker does it."""
        campaign = campaign_of(self.workspace, campaign_id)
        wanted = read_body(BroadcastBodySerializer, request)
        for name, need in (("segmentId", _TO_SEGMENT), ("contactIds", _TO_CONTACTS)):
            if wanted.get(name) is not None:
                self.need(need)
        self.need(_DOES, required_scopes(_served(campaign)))
        with domain_errors_as_fields():
            broadcast = broadcast_campaign(
                self.workspace, campaign, **_addressees(wanted), actor=asker(request)
            )
        return Response(presentation.broadcast_row(broadcast), status=202)


class BroadcastView(NativeAPIView):
    """One start for many."""

    scopes = _SCOPES

    @extend_schema(
        operation_id="getBroadcast",
        tags=["campaigns"],
        responses={200: BroadcastSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str, campaign_id: str, broadcast_id: str) -> Response:
        """Return a broadcast, how far it is, and what was done to it."""
        return Response(presentation.broadcast_row(_broadcast_of(self.workspace, campaign_id, broadcast_id)))

    @extend_schema(
        operation_id="moveBroadcast",
        tags=["campaigns"],
        request=BroadcastChangesSerializer,
        responses={200: BroadcastSerializer, **WRITE_REFUSALS},
    )
    def patch(self, request: Request, workspace_id: str, campaign_id: str, broadcast_id: str) -> Response:
        """Have a broadcast that has not begun start at another moment; one that has is a 409."""
        broadcast = _broadcast_of(self.workspace, campaign_id, broadcast_id)
        at = read_body(BroadcastChangesSerializer, request)["at"] or clock.now()
        try:
            broadcast = reschedule_broadcast(self.workspace.id, broadcast.id, at, actor=asker(request))
        except StartInPast as error:
            raise ValidationError({"at": [f"{error.message}."]}) from error
        return Response(presentation.broadcast_row(broadcast))


class CancelBroadcastView(NativeAPIView):
    """Starts for many that are called off."""

    scopes = {"POST": "campaigns:write"}

    @extend_schema(
        operation_id="cancelBroadcast",
        tags=["campaigns"],
        request=None,
        responses={200: BroadcastSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, campaign_id: str, broadcast_id: str) -> Response:
        """Let a broadcast take nobody any more; enrollments that it started go on. A finished one is a 409."""
        broadcast = _broadcast_of(self.workspace, campaign_id, broadcast_id)
        refuse_body(request)
        broadcast = cancel_broadcast(self.workspace.id, broadcast.id, actor=asker(request))
        return Response(presentation.broadcast_row(broadcast))


class ReportView(NativeAPIView):
    """What became of a campaign."""

    parameters = _PERIOD
    scopes = _SCOPES

    @extend_schema(
        operation_id="getCampaignReport",
        tags=["campaigns"],
        parameters=_PERIOD,
        responses={200: ReportSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Count what was decided, by its reason, and what became of enrollments and messages; trials are left out."""
        campaign = campaign_of(self.workspace, campaign_id)
        found = campaign_report(
            campaign, since=moment_parameter(request, "since"), until=moment_parameter(request, "until")
        )
        return Response(presentation.report(found))


@contextmanager
def domain_errors_as_fields() -> Iterator[None]:
    """Tell where in the body a fault is. Raises ValidationError."""
    wire = {field: name for name, field in _NAMES.items()}
    try:
        yield
    except InvalidDefinition as error:
        raise ValidationError({error.path or "workflow": [error.detail]}) from error
    except InvalidCampaign as error:
        raise ValidationError({wire.get(error.field, error.field): [error.message]}) from error


def _served(campaign: Campaign) -> object:
    """Return the definition that serves, None if none does yet."""
    return campaign.version.definition if campaign.version is not None else None


def _definition(wanted: Mapping[str, Any], draft: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the draft with what a body sets of it, None if it sets nothing."""
    given = {name: wanted[name] for name in presentation.DEFINITION_KEYS if name in wanted}
    return {**draft, **given} if given else None


def _values(wanted: Mapping[str, Any]) -> dict[str, Any]:
    values = {field: wanted[name] for name, field in _NAMES.items() if name in wanted}
    if values.get("description", "") is None:
        values["description"] = ""
    return values


def _broadcast_of(workspace: Workspace, campaign_id: str, broadcast_id: str) -> Broadcast:
    """Return a campaign's broadcast. Raises CampaignNotFound, BroadcastNotFound."""
    campaign = campaign_of(workspace, campaign_id)
    broadcasts = Broadcast.objects.filter(workspace_id=workspace.id, campaign_id=campaign.id)
    broadcast = broadcasts.filter(id=parse_uuid(broadcast_id) or NO_ID).first()
    if broadcast is None:
        raise BroadcastNotFound
    return broadcast


def _addressees(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Return whom a body means. What is no id is nobody's."""
    more: dict[str, Any] = {"at": wanted.get("at")}
    if (text := wanted.get("segmentId")) is not None:
        segment_id = parse_uuid(text)
        if segment_id is None:
            raise InvalidCampaign("segmentId", "There is no such segment.")
        more["segment_id"] = segment_id
    if (texts := wanted.get("contactIds")) is not None:
        more["contact_ids"] = [one for text in texts if (one := parse_uuid(text)) is not None]
    return more
