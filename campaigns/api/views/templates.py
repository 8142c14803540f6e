"""Endpoints of templates: write, preview, send a test."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from campaigns.api.filters.messages import TemplateFilterSet
from campaigns.api.lookup import find_contact_id, find_event
from campaigns.api.sending import DISPATCH_REFUSALS, dispatch, event_scope, template_errors_as_fields
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
from campaigns.messaging.preview import preview_template
from campaigns.messaging.templates import delete_template, get_template, save_template, users_of
from campaigns.models import Template
from config.ids import parse_uuid
from workspaces.api.native import NativeViewSet, object_body
from workspaces.api.strict import read_body
from workspaces.scopes import Need

# Whoever writes what is sent, sends.
_SENT = Need("PATCH", "messages:write", "a campaign or a form sends the template")
# Looking at what would be sent changes nothing, whatever the method; it shows what the contact's values are.
_PREVIEW_SCOPES = "campaigns:read contacts:read"


class TemplateViewSet(NativeViewSet):
    """The templates of a workspace."""

    tag = "templates"
    queryset = Template.objects.none()
    serializer_class = TemplateSerializer
    filterset_class = TemplateFilterSet
    lookup_url_kwarg = "template_id"
    scope = "campaigns"
    action_scopes = {
        "try_out": _PREVIEW_SCOPES,
        "preview": _PREVIEW_SCOPES,
        "test": "messages:write campaigns:read contacts:read",
    }
    needs = (_SENT, *map(event_scope, action_scopes))

    def get_queryset(self) -> QuerySet[Template]:
        """Return the workspace's templates, oldest first."""
        return Template.objects.in_workspace(self.workspace.id).order_by("id")

    @extend_schema(operation_id="listTemplates")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the templates."""
        return Response(TemplateSerializer(self.filter_queryset(self.get_queryset()), many=True).data)

    @extend_schema(operation_id="createTemplate", request=TemplateSerializer)
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a template; Liquid that is invalid or not allowed is refused."""
        body = read_body(TemplateSerializer, request)
        with template_errors_as_fields():
            template = save_template(Template(workspace=self.workspace), **body)
        return Response(TemplateSerializer(template).data, status=201)

    @extend_schema(operation_id="getTemplate")
    def retrieve(self, request: Request, workspace_id: str, template_id: str) -> Response:
        """Return a template."""
        return Response(TemplateSerializer(template_of(self.workspace.id, template_id)).data)

    @extend_schema(operation_id="updateTemplate", request=TemplateChangesSerializer)
    def partial_update(self, request: Request, workspace_id: str, template_id: str) -> Response:
        """Change what the body names, for messages made from now on."""
        template = template_of(self.workspace.id, template_id)
        body = read_body(TemplateChangesSerializer, request, partial=True)
        if not self.may(_SENT.scopes) and users_of(template):
            self.need(_SENT)
        channel = template.channel.upper()
        if object_body(request).get("channel", channel) != channel:
            raise ValidationError({"channel": ["A template stays of its channel."]})
        with template_errors_as_fields():
            save_template(template, **body)
        return Response(TemplateSerializer(template).data)

    @extend_schema(operation_id="deleteTemplate")
    def destroy(self, request: Request, workspace_id: str, template_id: str) -> Response:
        """Delete a template, unless a campaign or a form sends it."""
        delete_template(template_of(self.workspace.id, template_id))
        return Response(status=204)

    @extend_schema(
        operation_id="tryOutTemplate",
        request=TryOutBodySerializer,
        responses={200: RenderedSerializer, **DISPATCH_REFUSALS},
    )
    @action(
        detail=False, methods=["post"], url_path="preview", repeats_harmlessly="shows, and changes nothing"
    )
    def try_out(self, request: Request, workspace_id: str) -> Response:
        """Render a template that is not saved for a contact."""
        body = read_body(TryOutBodySerializer, request)
        parts = {name: body[name] for name in ("channel", "subject", "body", "text") if name in body}
        return self._preview(Template(workspace=self.workspace, **parts), body)

    @extend_schema(
        operation_id="previewTemplate",
        request=PreviewBodySerializer,
        responses={200: RenderedSerializer, **DISPATCH_REFUSALS},
    )
    @action(detail=True, methods=["post"], repeats_harmlessly="shows, and changes nothing")
    def preview(self, request: Request, workspace_id: str, template_id: str) -> Response:
        """Render a template for a contact; nothing is sent. 422 if a value is missing."""
        template = template_of(self.workspace.id, template_id)
        return self._preview(template, read_body(PreviewBodySerializer, request))

    @extend_schema(
        operation_id="testTemplate",
        request=TestBodySerializer,
        responses={200: DispatchSerializer, **DISPATCH_REFUSALS},
    )
    @action(detail=True, methods=["post"])
    def test(self, request: Request, workspace_id: str, template_id: str) -> Response:
        """Send a test of a template, to the contact or another address; it is not counted."""
        template = template_of(self.workspace.id, template_id)
        body = read_body(TestBodySerializer, request)
        self._need_event(body)
        address = body.get("to") or ""
        enqueued = dispatch(
            self.workspace.id,
            body,
            channel=template.channel,
            template=template,
            is_test=True,
            address=address,
        )
        return Response(DispatchSerializer(enqueued).data)

    def _need_event(self, body: dict[str, Any]) -> None:
        if body.get("event_id"):
            self.need(event_scope(self.action))

    def _preview(self, template: Template, body: dict[str, Any]) -> Response:
        self._need_event(body)
        contact_id = find_contact_id(self.workspace.id, body["contact_id"])
        event = find_event(self.workspace.id, body.get("event_id"))
        with template_errors_as_fields():
            rendered = preview_template(self.workspace.id, template, contact_id, event=event)
        return Response(RenderedSerializer(rendered).data)


def template_of(workspace_id: UUID, text: str) -> Template:
    """Return the template with an id. Raises TemplateNotFound, also for what is no id."""
    identifier = parse_uuid(text)
    if identifier is None:
        raise TemplateNotFound
    return get_template(workspace_id, identifier)
