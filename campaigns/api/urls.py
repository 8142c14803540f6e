"""The native API's routes on this floor, included under `api/`."""

from django.urls import path

from campaigns.api.views.campaigns import (
    ActivateView,
    ArchiveView,
    BroadcastsView,
    BroadcastView,
    CampaignViewSet,
    CancelBroadcastView,
    ExecuteView,
    FinishView,
    PauseView,
    ReportView,
    ResumeView,
    VersionsView,
)
from campaigns.api.views.enrollments import (
    CampaignDecisionViewSet,
    ContactDecisionViewSet,
    EnrollmentViewSet,
    TraceView,
)
from campaigns.api.views.forms import FormViewSet, SubmissionsView
from campaigns.api.views.messages import MessageViewSet, SettleView
from campaigns.api.views.policy import ChannelsView, ChannelView, SigningSecretView, SuppressionViewSet
from campaigns.api.views.templates import (
    TemplatePreviewView,
    TemplateTestView,
    TemplateTryOutView,
    TemplateViewSet,
)

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

urlpatterns = [
    path(_CAMPAIGNS, CampaignViewSet.as_view({"get": "list", "post": "create"}), name="campaigns"),
    path(
        _CAMPAIGN,
        CampaignViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="campaign",
    ),
    path(f"{_CAMPAIGN}/activate", ActivateView.as_view(), name="campaign-activate"),
    path(f"{_CAMPAIGN}/pause", PauseView.as_view(), name="campaign-pause"),
    path(f"{_CAMPAIGN}/resume", ResumeView.as_view(), name="campaign-resume"),
    path(f"{_CAMPAIGN}/finish", FinishView.as_view(), name="campaign-finish"),
    path(f"{_CAMPAIGN}/archive", ArchiveView.as_view(), name="campaign-archive"),
    path(f"{_CAMPAIGN}/execute", ExecuteView.as_view(), name="campaign-execute"),
    path(f"{_CAMPAIGN}/broadcasts", BroadcastsView.as_view(), name="campaign-broadcasts"),
    path(f"{_CAMPAIGN}/broadcasts/<str:broadcast_id>", BroadcastView.as_view(), name="campaign-broadcast"),
    path(
        f"{_CAMPAIGN}/broadcasts/<str:broadcast_id>/cancel",
        CancelBroadcastView.as_view(),
        name="campaign-broadcast-cancel",
    ),
    path(f"{_CAMPAIGN}/versions", VersionsView.as_view(), name="campaign-versions"),
    path(f"{_CAMPAIGN}/report", ReportView.as_view(), name="campaign-report"),
    path(f"{_CAMPAIGN}/runs", EnrollmentViewSet.as_view({"get": "list"}), name="campaign-runs"),
    path(
        f"{_CAMPAIGN}/runs/<str:run_id>", EnrollmentViewSet.as_view({"get": "retrieve"}), name="campaign-run"
    ),
    path(
        f"{_CAMPAIGN}/decisions", CampaignDecisionViewSet.as_view({"get": "list"}), name="campaign-decisions"
    ),
    path(
        f"{_WORKSPACE}/contacts/<str:contact_id>/decisions",
        ContactDecisionViewSet.as_view({"get": "list"}),
        name="contact-decisions",
    ),
    path(f"{_WORKSPACE}/events/<str:event_id>/trace", TraceView.as_view(), name="event-trace"),
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
