"""Routes of the native API's campaigns and messages, under `api/`."""

from campaigns.api.views.broadcasts import BroadcastViewSet
from campaigns.api.views.campaigns import CampaignViewSet, VersionViewSet
from campaigns.api.views.enrollments import CampaignDecisionViewSet, ContactDecisionViewSet, EnrollmentViewSet
from campaigns.api.views.forms import FormViewSet, SubmissionViewSet
from campaigns.api.views.messages import MessageViewSet
from campaigns.api.views.policy import ChannelViewSet, SuppressionViewSet
from campaigns.api.views.rehearsals import RehearsalViewSet
from campaigns.api.views.telegram import TelegramStartViewSet
from campaigns.api.views.templates import TemplateViewSet
from campaigns.api.views.traces import TraceViewSet
from workspaces.api.routers import Router

_WORKSPACE = "workspaces/<str:workspace_id>"
_CAMPAIGN = f"{_WORKSPACE}/campaigns/<str:campaign_id>"

router = Router()
router.register(f"{_WORKSPACE}/campaigns", CampaignViewSet, "campaign")
router.register(f"{_CAMPAIGN}/broadcasts", BroadcastViewSet, "campaign-broadcast")
router.register(f"{_CAMPAIGN}/rehearsals", RehearsalViewSet, "campaign-rehearsal")
router.register(f"{_CAMPAIGN}/versions", VersionViewSet, "campaign-version")
router.register(f"{_CAMPAIGN}/runs", EnrollmentViewSet, "campaign-run")
router.register(f"{_CAMPAIGN}/decisions", CampaignDecisionViewSet, "campaign-decision")
router.register(
    f"{_WORKSPACE}/contacts/<str:contact_id>/decisions", ContactDecisionViewSet, "contact-decision"
)
router.register(
    f"{_WORKSPACE}/contacts/<str:contact_id>/telegram-start", TelegramStartViewSet, "contact-telegram-start"
)
router.register(f"{_WORKSPACE}/events", TraceViewSet, "event")
router.register(f"{_WORKSPACE}/messages", MessageViewSet, "message")
router.register(f"{_WORKSPACE}/templates", TemplateViewSet, "template")
router.register(f"{_WORKSPACE}/suppressions", SuppressionViewSet, "suppression")
router.register(f"{_WORKSPACE}/forms", FormViewSet, "form")
router.register(f"{_WORKSPACE}/forms/<str:form_id>/submissions", SubmissionViewSet, "submission")
router.register(f"{_WORKSPACE}/channels", ChannelViewSet, "channel")

urlpatterns = router.urls
