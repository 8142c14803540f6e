"""The OAuth 2.0 routes, included under `oauth2/`."""

from django.urls import path

from workspaces.api import oauth_views

urlpatterns = [
    path("token", oauth_views.OAuthTokenView.as_view(), name="oauth2-token"),
    path("authorize", oauth_views.OAuthAuthorizeView.as_view(), name="oauth2-authorize"),
    path("revoke", oauth_views.OAuthRevokeView.as_view(), name="oauth2-revoke"),
    path("login", oauth_views.OAuthLoginView.as_view(), name="oauth2-login"),
]
