"""The native API's routes on this floor, included under `api/`."""

from django.urls import path

from workspaces.api import openapi, views

__all__ = ["openapi", "urlpatterns"]

urlpatterns = [
    path("health", views.HealthView.as_view(), name="health"),
    path("auth/login", views.LoginView.as_view(), name="login"),
    path("auth/logout", views.LogoutView.as_view(), name="logout"),
    path("auth/session", views.SessionView.as_view(), name="session"),
    path("auth/token", views.TokenView.as_view(), name="token"),
    path("auth/token/refresh", views.TokenRefreshView.as_view(), name="token-refresh"),
    path("workspaces/<str:workspace_id>", views.WorkspaceView.as_view(), name="workspace"),
    path("workspaces/<str:workspace_id>/keys", views.KeysView.as_view(), name="keys"),
]
