"""The native API's routes on this floor, included under `api/`."""

from django.urls import path

from campaigns.api.views.broadcasts import BroadcastViewSet
from campaigns.api.views.campaigns import CampaignViewSet, VersionViewSet
from campaigns.api.views.enrollments import CampaignDecisionViewSet, ContactDecisionViewSet, EnrollmentViewSet
from campaigns.api.views.forms import FormViewSet, SubmissionsView
from campaigns.api.views.messages import MessageViewSet, SettleView
from campaigns.api.views.policy import ChannelsView, ChannelView, SigningSecretView, SuppressionViewSet
from campaigns.api.views.templates import (
    TemplatePreviewView,
    TemplateTestView,
    TemplateTryOutView,
    TemplateViewSet,
)
from campaigns.api.views.traces import TraceViewSet
from workspaces.api.routers import Router

_WORKSPACE = "workspaces/<str:workspace_id>"
_CAMPAIGNS = f"{_WORKSPACE}/campaigns"
_CAMPAIGN = f"{_CAMPAIGNS}/<str:campaign_id>"
_MESSAGES = f"{_WORKSPACE}/messages"
_TEMPLATES = f"{_WORKSPACE}/templates"
_TEMPLATE = f"{_TEMPLATES}/<str:template_id>"
_SUPPRESSIONS = f"{_WORKSPACE}/suppressions"
_FORMS = f"{_WORKSPACE}/forms"
_FORM = f"{_FORMS}/<str:form_id>"
_CHANNELS = f"{_WORKSPACE}/channels"

router = Router()
router.register(_CAMPAIGNS, CampaignViewSet, "campaign")
router.register(f"{_CAMPAIGN}/broadcasts", BroadcastViewSet, "campaign-broadcast")
router.register(f"{_CAMPAIGN}/versions", VersionViewSet, "campaign-version")
router.register(f"{_CAMPAIGN}/runs", EnrollmentViewSet, "campaign-run")
router.register(f"{_CAMPAIGN}/decisions", CampaignDecisionViewSet, "campaign-decision")
router.register(
    f"{_WORKSPACE}/contacts/<str:contact_id>/decisions", ContactDecisionViewSet, "contact-decision"
)
router.register(f"{_WORKSPACE}/events", TraceViewSet, "event")

urlpatterns = [
    *router.urls,
    path(_MESSAGES, MessageViewSet.as_view({"get": "list", "post": "create"}), name="messages"),
    path(f"{_MESSAGES}/<str:message_id>", MessageViewSet.as_view({"get": "retrieve"}), name="message"),
    path(f"{_MESSAGES}/<str:message_id>/settle", SettleView.as_view(), name="message-settle"),
    path(_TEMPLATES, TemplateViewSet.as_view({"get": "list", "post": "create"}), name="templates"),
    path(f"{_TEMPLATES}/preview", TemplateTryOutView.as_view(), name="template-try-out"),
    path(
        _TEMPLATE,
        TemplateViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="template",
    ),
    path(f"{_TEMPLATE}/preview", TemplatePreviewView.as_view(), name="template-preview"),
    path(f"{_TEMPLATE}/test", TemplateTestView.as_view(), name="template-test"),
    path(_SUPPRESSIONS, SuppressionViewSet.as_view({"get": "list", "post": "create"}), name="suppressions"),
    path(
        f"{_SUPPRESSIONS}/<str:suppression_id>",
        SuppressionViewSet.as_view({"delete": "destroy"}),
        name="suppression",
    ),
    path(_FORMS, FormViewSet.as_view({"get": "list", "post": "create"}), name="forms"),
    path(
        _FORM,
        FormViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="form",
    ),
    path(f"{_FORM}/submissions", SubmissionsView.as_view(), name="form-submissions"),
    path(_CHANNELS, ChannelsView.as_view(), name="channels"),
    path(f"{_CHANNELS}/webhook/signing-secret", SigningSecretView.as_view(), name="signing-secret"),
    path(f"{_CHANNELS}/<str:channel>", ChannelView.as_view(), name="channel"),
]
