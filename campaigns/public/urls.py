"""The routes that anybody may call."""

from django.urls import include, path

from campaigns.public.consents import PreferencesAPIView, UnsubscribeAPIView
from campaigns.public.forms import EmbedView, SubmitFormView
from campaigns.public.pages import ClickView, ConfirmView, OpenView, PreferencesView, UnsubscribeView
from campaigns.public.providers import provider_routes
from campaigns.public.webhooks import TelegramView

urlpatterns = [
    path("o/<str:token>", OpenView.as_view(), name="open"),
    path("c/<str:token>", ClickView.as_view(), name="click"),
    path("unsubscribe/<str:token>", UnsubscribeView.as_view(), name="unsubscribe-page"),
    path("preferences/<str:token>", PreferencesView.as_view(), name="preferences-page"),
    path("forms/confirm/<str:token>", ConfirmView.as_view(), name="form-confirm"),
    path("api/unsubscribe", UnsubscribeAPIView.as_view(), name="unsubscribe"),
    path("api/preferences", PreferencesAPIView.as_view(), name="preferences"),
    path("api/webhooks/telegram/<str:workspace_id>", TelegramView.as_view(), name="telegram"),
    path("api/webhooks/email/", include(provider_routes())),
    path("api/forms/<str:form_id>/submit", SubmitFormView.as_view(), name="form-submit"),
    path("api/forms/<str:form_id>/embed.js", EmbedView.as_view(), name="form-embed"),
]
