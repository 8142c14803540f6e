"""AutoSend's endpoints of projects: the workspace of the key."""

from typing import Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.messaging.policy import settings_of
from campaigns.models.messages import Channel
from config.ids import parse_uuid
from dialects.autosend.base import AutoSendViewSet, document, enveloped
from workspaces.api.fields import MillisecondsField
from workspaces.errors import WorkspaceNotFound
from workspaces.models import Workspace


class AutoSendProjectSerializer(serializers.Serializer[Workspace]):
    """A project; what Headrace does not know of one is null or empty. The context has the channel's `options`."""

    id = serializers.CharField()
    name = serializers.CharField()
    domain = serializers.CharField(default=None, read_only=True, allow_null=True)
    domains = serializers.ListField(default=list, read_only=True, child=serializers.DictField())
    industry = serializers.CharField(default=None, read_only=True, allow_null=True)
    logo = serializers.CharField(default=None, read_only=True, allow_null=True)
    address = serializers.CharField(default=None, read_only=True, allow_null=True)
    trackingOpen = serializers.SerializerMethodField()
    trackingClick = serializers.SerializerMethodField()
    createdAt = MillisecondsField(source="created_at")

    def get_trackingOpen(self, row: Any) -> bool:  # noqa: N802  (DRF looks for the field's name)
        """Return whether opens of e-mails are tracked."""
        return bool(self.context["options"].get("trackOpens", True))

    def get_trackingClick(self, row: Any) -> bool:  # noqa: N802  (DRF looks for the field's name)
        """Return whether clicks in e-mails are tracked."""
        return bool(self.context["options"].get("trackClicks", True))


class ProjectViewSet(AutoSendViewSet):
    """The project of the key."""

    queryset = Workspace.objects.none()
    # It says how the e-mail channel is set.
    scopes = {"GET": "campaigns:read"}

    @document(
        "List the projects: the key's own",
        enveloped(
            "Projects",
            inline_serializer("AutoSendProjects", {"projects": AutoSendProjectSerializer(many=True)}),
        ),
    )
    @action(detail=False, url_path="account/projects", url_name="autosend-projects")
    def list_projects(self, request: Request) -> Response:
        """List the project that the key belongs to."""
        return self.answer({"projects": [self._rendered()]})

    @document(
        "Get a project", enveloped("Project", AutoSendProjectSerializer()), {404: "Not the key's project"}
    )
    @action(detail=False, url_path=r"account/projects/(?P<project_id>[^/]+)", url_name="autosend-project")
    def retrieve(self, request: Request, project_id: str) -> Response:
        """Return the project, if it is the key's own."""
        if parse_uuid(project_id) != self.workspace.id:
            raise WorkspaceNotFound
        return self.answer(self._rendered())

    def _rendered(self) -> Any:
        options = settings_of(self.workspace.id, Channel.EMAIL).options
        return AutoSendProjectSerializer(self.workspace, context={"options": options}).data
