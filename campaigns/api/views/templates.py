"""Templates: written, shown with a contact's values, and sent as a test."""

from collections.abc import Sequence
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.filters.messages import TemplateFilterSet
from campaigns.api.paging import contact_of, event_of
from campaigns.api.sending import DISPATCH_REFUSALS, OF_EVENT, dispatch, template_errors_as_fields
from campaigns.api.serializers.messages import DispatchSerializer
from campaigns.api.serializers.templates import (
    PreviewBodySerializer,
    RenderedSerializer,
    TemplateChangesSerializer,
    TemplateSerializer,
    TestBodySerializer,
    TryOutBodySerializer,
)
from campaigns.errors import TemplateNotFound
from campaigns.journeys.warnings import template_warnings
from campaigns.messaging.preview import preview_template
from campaigns.messaging.settings import delete_template, get_template, save_template, users_of
from campaigns.messaging.templates import Rendered
from campaigns.models import Template
from config.ids import parse_uuid
from workspaces.api.native import NativeAPIView, NativeViewSet, object_body
from workspaces.api.strict import READ_REFUSALS, WRITE_REFUSALS, read_body
from workspaces.models import Workspace
from workspaces.scopes import Need

# Looking at what would be sent changes nothing, whatever the method; it shows what the contact's values are.
_READING = {"POST": "campaigns:read contacts:read"}
# Whoever writes what is sent, sends.
_SENT = Need("PATCH", "messages:write", "a campaign or a form sends the template")


class TemplateViewSet(NativeViewSet):
    """The templates of a workspace."""

    queryset = Template.objects.none()
    serializer_class = TemplateSerializer
    filterset_class = TemplateFilterSet
    pagination_class = None
    lookup_url_kwarg = "template_id"
    scopes = {
        "GET": "campaigns:read",
        "POST": "campaigns:write",
        "PATCH": "campaigns:write",
        "DELETE": "campaigns:write",
    }
    needs = (_SENT,)

    def get_queryset(self) -> QuerySet[Template]:
        """Return the workspace's templates, oldest first."""
        return Template.objects.filter(workspace_id=self.workspace.id).order_by("id")

    @extend_schema(
        operation_id="listTemplates",
        tags=["templates"],
        responses={200: TemplateSerializer(many=True), **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the templates."""
        return Response(_rows(self.workspace, list(self.filter_queryset(self.get_queryset()))))

    @extend_schema(
        operation_id="createTemplate",
        tags=["templates"],
        request=TemplateSerializer,
        responses={201: TemplateSerializer, **WRITE_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a template; what is no Liquid, or does what none may, is refused."""
        wanted = read_body(TemplateSerializer, request)
        with template_errors_as_fields():
            template = save_template(Template(workspace=self.workspace), **wanted)
        return Response(_row(self.workspace, template), status=201)

    @extend_schema(
        operation_id="getTemplate", tags=["templates"], responses={200: TemplateSerializer, **READ_REFUSALS}
    )
    def retrieve(self, request: Request, workspace_id: str, template_id: str) -> Response:
        """Return a template."""
        return Response(_row(self.workspace, template_of(self.workspace, template_id)))

    @extend_schema(
        operation_id="updateTemplate",
        tags=["templates"],
        request=TemplateChangesSerializer,
        responses={200: TemplateSerializer, **WRITE_REFUSALS},
    )
    def partial_update(self, request: Request, workspace_id: str, template_id: str) -> Response:
        """Change what the body names, for messages made from now on."""
        template = template_of(self.workspace, template_id)
        wanted = read_body(TemplateChangesSerializer, request, partial=True)
        if not self.may(_SENT.scopes) and users_of(template):
            self.need(_SENT)
        channel = template.channel.upper()
        if object_body(request).get("channel", channel) != channel:
            raise ValidationError({"channel": ["A template stays of its channel."]})
        with template_errors_as_fields():
            save_template(template, **wanted)
        return Response(_row(self.workspace, template))

    @extend_schema(operation_id="deleteTemplate", tags=["templates"], responses={204: None, **WRITE_REFUSALS})
    def destroy(self, request: Request, workspace_id: str, template_id: str) -> Response:
        """Delete a template, unless a campaign or a form sends it."""
        delete_template(template_of(self.workspace, template_id))
        return Response(status=204)


class TemplatePreviewView(NativeAPIView):
    """What a contact would get."""

    scopes = _READING
    needs = (OF_EVENT,)
    repeats_harmlessly = "shows, and changes nothing"

    @extend_schema(
        operation_id="previewTemplate",
        tags=["templates"],
        request=PreviewBodySerializer,
        responses={200: RenderedSerializer, **DISPATCH_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, template_id: str) -> Response:
        """Show what a contact would get of a template; nothing is sent. A value that is missing is a 422."""
        template = template_of(self.workspace, template_id)
        wanted = read_body(PreviewBodySerializer, request)
        if wanted.get("eventId"):
            self.need(OF_EVENT)
        return Response(_shown(self.workspace, template, wanted))


class TemplateTryOutView(NativeAPIView):
    """What a contact would get of a template that is not saved."""

    scopes = _READING
    needs = (OF_EVENT,)
    repeats_harmlessly = "shows, and changes nothing"

    @extend_schema(
        operation_id="tryOutTemplate",
        tags=["templates"],
        request=TryOutBodySerializer,
        responses={200: RenderedSerializer, **DISPATCH_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str) -> Response:
        """Show what a contact would get of a template that is not saved."""
        wanted = read_body(TryOutBodySerializer, request)
        if wanted.get("eventId"):
            self.need(OF_EVENT)
        parts = {name: wanted[name] for name in ("channel", "subject", "body", "text") if name in wanted}
        return Response(_shown(self.workspace, Template(workspace=self.workspace, **parts), wanted))


class TemplateTestView(NativeAPIView):
    """Templates sent as a test."""

    scopes = {"POST": "messages:write campaigns:read contacts:read"}
    needs = (OF_EVENT,)

    @extend_schema(
        operation_id="testTemplate",
        tags=["templates"],
        request=TestBodySerializer,
        responses={200: DispatchSerializer, **DISPATCH_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, template_id: str) -> Response:
        """Send what a contact would get, to the contact or elsewhere; it is marked as a test, and counts nowhere."""
        template = template_of(self.workspace, template_id)
        wanted = read_body(TestBodySerializer, request)
        if wanted.get("eventId"):
            self.need(OF_EVENT)
        return Response(
            dispatch(
                self.workspace,
                wanted,
                channel=template.channel,
                template=template,
                is_test=True,
                address=wanted.get("to") or "",
            )
        )


def template_of(workspace: Workspace, text: str) -> Template:
    """Return the template that an id means. Raises TemplateNotFound."""
    identifier = parse_uuid(text)
    if identifier is None:
        raise TemplateNotFound
    return get_template(workspace.id, identifier)


def _row(workspace: Workspace, template: Template) -> dict[str, Any]:
    (row,) = _rows(workspace, [template])
    return row


def _rows(workspace: Workspace, templates: Sequence[Template]) -> list[dict[str, Any]]:
    warnings = template_warnings(workspace.id, templates)
    return [{**TemplateSerializer(one).data, "warnings": warnings[one.pk]} for one in templates]


def _shown(workspace: Workspace, template: Template, wanted: dict[str, Any]) -> dict[str, str]:
    contact_id = contact_of(workspace, wanted["contactId"])
    event = event_of(workspace, wanted.get("eventId"))
    with template_errors_as_fields():
        rendered: Rendered = preview_template(workspace.id, template, contact_id, event=event)
    return {"subject": rendered.subject, "body": rendered.body, "text": rendered.text}
