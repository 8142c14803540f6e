"""Endpoints of campaigns: write, activate, pause, execute, report; and of their versions."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.filters.campaigns import CampaignFilterSet
from campaigns.api.lookup import find_campaign, find_contact_id, find_event
from campaigns.api.serializers.broadcasts import BroadcastBodySerializer
from campaigns.api.serializers.campaigns import (
    CampaignBodySerializer,
    CampaignChangesSerializer,
    CampaignSerializer,
    ReportSerializer,
    VersionSerializer,
)
from campaigns.api.serializers.enrollments import ExecuteBodySerializer, ExecutedSerializer
from campaigns.errors import CampaignNotFound, InvalidCampaign, InvalidDefinition
from campaigns.journeys.definition.references import required_scopes
from campaigns.journeys.lifecycle import (
    activate_campaign,
    archive_campaign,
    create_campaign,
    delete_campaign,
    execute_campaign,
    finish_campaign,
    pause_campaign,
    resume_campaign,
    start_trial,
    update_campaign,
)
from campaigns.messaging.senders import SENDERS
from campaigns.models import Campaign, CampaignVersion, Enrollment
from campaigns.reporting.report import campaign_report
from contacts.crud import get_contact
from events.api.parameters import moment_parameter
from workspaces.api.base import actor_of
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination
from workspaces.api.strict import read_body, refuse_body, wire_names
from workspaces.scopes import Need

DOES = (
    "messages:write contacts:write contacts:read events:write events:read segments:read",
    "those that its steps, triggers and rules need",
)
"""Scopes and condition of a Need for what a campaign does; its definition says which of the scopes."""
_CREATES = Need("POST", *DOES, action="create")
_CHANGES = Need("PATCH", *DOES)
_ACTIVATES = Need("POST", *DOES, action="activate")
_EXECUTES = Need("POST", *DOES, action="execute")
_OF_EVENT = Need("POST", "events:read", "`eventId` is given", action="execute")
_FROM = Need("PATCH", "messages:write", "`sender` or `replyTo` is given")
_BODY_NAMES = wire_names(CampaignBodySerializer) | wire_names(BroadcastBodySerializer)
_PERIOD = [
    OpenApiParameter(
        "since", str, description="what began from then on: ISO 8601, UTC unless it names a zone"
    ),
    OpenApiParameter("until", str, description="what began before"),
]


def _status_action(operation_id: str) -> Callable[[Any], Any]:
    """Make a method an action: a POST without a body, answered with the campaign."""

    def decorate(method: Any) -> Any:
        schema = extend_schema(
            operation_id=operation_id,
            request=None,
            responses={200: CampaignSerializer},
        )
        return schema(action(detail=True, methods=["post"])(method))

    return decorate


class CampaignViewSet(NativeViewSet):
    """The campaigns of a workspace."""

    tag = "campaigns"
    queryset = Campaign.objects.select_related("active_version").order_by("id")
    not_found = CampaignNotFound
    serializer_class = CampaignSerializer
    filterset_class = CampaignFilterSet
    lookup_url_kwarg = "campaign_id"
    scope = "campaigns"
    # The answer shows whom it is about.
    action_scopes = {"execute": "campaigns:write contacts:read"}
    needs = (_OF_EVENT, _CREATES, _CHANGES, _ACTIVATES, _EXECUTES, _FROM)

    @extend_schema(operation_id="listCampaigns")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the campaigns, each with the number of its enrollments and messages."""
        return Response(CampaignSerializer(self.filter_queryset(self.get_queryset()), many=True).data)

    @extend_schema(operation_id="createCampaign", request=CampaignBodySerializer)
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a campaign; it is a draft, which may be incomplete, until it is activated."""
        definition, values = _read(CampaignBodySerializer, request, {})
        self.need(_CREATES, required_scopes(definition))
        with domain_errors_as_fields():
            campaign = create_campaign(self.workspace.id, definition=definition, **values)
        return Response(CampaignSerializer(campaign).data, status=201)

    @extend_schema(operation_id="getCampaign")
    def retrieve(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Return a campaign with its definition."""
        return Response(CampaignSerializer(self.get_object()).data)

    @extend_schema(operation_id="updateCampaign", request=CampaignChangesSerializer)
    def partial_update(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Change what the body names; another definition is the draft until it is activated."""
        campaign = self.get_object()
        definition, values = _read(CampaignChangesSerializer, request, campaign.draft)
        self.need(_CHANGES, required_scopes(definition))
        if not values.keys().isdisjoint(SENDERS):
            self.need(_FROM)
        with domain_errors_as_fields():
            campaign = update_campaign(self.workspace.id, campaign, definition=definition, **values)
        return Response(CampaignSerializer(campaign).data)

    @extend_schema(operation_id="deleteCampaign")
    def destroy(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Delete a campaign that was never activated; others are archived instead."""
        delete_campaign(self.workspace.id, self.get_object())
        return Response(status=204)

    @_status_action("activateCampaign")
    def activate(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Activate the draft as a new version; open enrollments keep the version that they began with."""
        self.need(_ACTIVATES, required_scopes(self.get_object().draft))
        return self._change_status(partial(activate_campaign, actor=actor_of(request)))

    @_status_action("pauseCampaign")
    def pause(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Pause a campaign: nothing starts, and enrollments stay where they are."""
        return self._change_status(pause_campaign)

    @_status_action("resumeCampaign")
    def resume(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Resume a paused campaign; what became due meanwhile goes on at once."""
        return self._change_status(resume_campaign)

    @_status_action("finishCampaign")
    def finish(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Finish a campaign: nothing starts any more, and open enrollments go on to their end."""
        return self._change_status(finish_campaign)

    @_status_action("archiveCampaign")
    def archive(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Archive a campaign for good: nothing starts, and open enrollments end."""
        return self._change_status(archive_campaign)

    @extend_schema(
        operation_id="executeCampaign",
        request=ExecuteBodySerializer,
        responses={200: ExecutedSerializer},
    )
    @action(detail=True, methods=["post"])
    def execute(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Enroll a contact, if re-entry allows it; `isTest` tries out the draft."""
        campaign = self.get_object()
        body = read_body(ExecuteBodySerializer, request)
        if body.get("eventId"):
            self.need(_OF_EVENT)
        self.need(
            _EXECUTES, required_scopes(campaign.draft if body["isTest"] else active_definition(campaign))
        )
        contact = get_contact(self.workspace.id, find_contact_id(self.workspace.id, body["contactId"]))
        event = find_event(self.workspace.id, body.get("eventId"))
        if body["isTest"]:
            with domain_errors_as_fields():
                entered = start_trial(
                    self.workspace.id,
                    campaign,
                    contact,
                    event=event,
                    skips_waits=body["skipWaits"],
                    actor=actor_of(request),
                )
        else:
            entered = execute_campaign(self.workspace.id, campaign, contact, event=event, key=body.get("key"))
        enrollments = Enrollment.objects.in_workspace(self.workspace.id).select_related("version")
        enrollment = enrollments.get(id=entered.enrollment_id) if entered.enrollment_id is not None else None
        answer = {"entered": enrollment is not None, "reason": entered.reason, "run": enrollment}
        return Response(ExecutedSerializer(answer).data)

    @extend_schema(
        operation_id="getCampaignReport",
        parameters=_PERIOD,
        responses={200: ReportSerializer},
    )
    @action(detail=True, parameters=_PERIOD)
    def report(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """Return counts of decisions by reason, of enrollments and of messages, without trials."""
        since, until = moment_parameter(request, "since"), moment_parameter(request, "until")
        return Response(ReportSerializer(campaign_report(self.get_object(), since=since, until=until)).data)

    def _change_status(self, change: Callable[[UUID, Campaign], Campaign]) -> Response:
        refuse_body(self.request)
        with domain_errors_as_fields():
            campaign = change(self.workspace.id, self.get_object())
        return Response(CampaignSerializer(campaign).data)


class VersionViewSet(NativeViewSet):
    """The versions of a campaign."""

    tag = "campaigns"
    queryset = CampaignVersion.objects.none()
    serializer_class = VersionSerializer
    pagination_class = KeysetPagination
    scope = "campaigns"

    @extend_schema(operation_id="listCampaignVersions")
    def list(self, request: Request, workspace_id: str, campaign_id: str) -> Response:
        """List a campaign's versions with definitions and numbers of open enrollments, newest first."""
        campaign = find_campaign(self.workspace.id, campaign_id)
        page = self.paginate_queryset(campaign.versions.in_workspace(self.workspace.id))
        return self.get_paginated_response(VersionSerializer(page, many=True).data)


@contextmanager
def domain_errors_as_fields() -> Iterator[None]:
    """Turn errors about a campaign into errors of the body's fields. Raises ValidationError."""
    try:
        yield
    except InvalidDefinition as error:
        raise ValidationError({error.path or "workflow": [error.detail]}) from error
    except InvalidCampaign as error:
        raise ValidationError({_BODY_NAMES.get(error.field, error.field): [error.message]}) from error


def active_definition(campaign: Campaign) -> object:
    """Return the active version's definition, None before an activation."""
    return campaign.active_version.definition if campaign.active_version is not None else None


def _read(
    serializer_class: type[CampaignChangesSerializer], request: Request, draft: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the draft with a body's changes, None if there are none, and the campaign's other new values."""
    values = read_body(serializer_class, request)
    values.pop("settings", None)
    given = values.pop("definition", None)
    return {**draft, **given} if given else None, values
