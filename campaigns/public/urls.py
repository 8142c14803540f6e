"""Routes that need no credential."""

from django.urls import include, path

from campaigns.public.forms import EmbedView, FormSubmissionViewSet
from campaigns.public.pages import ClickView, ConfirmView, OpenView, PreferencesView, UnsubscribeView
from campaigns.public.preferences import PreferenceViewSet
from campaigns.public.providers import provider_routes
from campaigns.public.telegram import TelegramUpdateViewSet
from workspaces.api.routers import Router

router = Router()
router.register("api", PreferenceViewSet, "preference")
router.register("api/webhooks/telegram/<str:workspace_id>", TelegramUpdateViewSet, "telegram")
router.register("api/forms", FormSubmissionViewSet, "form-submission")

urlpatterns = [
    path("o/<str:token>", OpenView.as_view(), name="open"),
    path("c/<str:token>", ClickView.as_view(), name="click"),
    path("unsubscribe/<str:token>", UnsubscribeView.as_view(), name="unsubscribe-page"),
    path("preferences/<str:token>", PreferencesView.as_view(), name="preferences-page"),
    path("forms/confirm/<str:token>", ConfirmView.as_view(), name="form-confirm"),
    path("api/forms/<str:form_id>/embed.js", EmbedView.as_view(), name="form-embed"),
    path("api/webhooks/email/", include(provider_routes())),
    *router.urls,
]
