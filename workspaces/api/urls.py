"""Routes of workspaces in the native API, under `api/`."""

from workspaces.api import openapi, views
from workspaces.api.routers import Router

__all__ = ["openapi", "urlpatterns"]

_router = Router()
_router.register("", views.HealthViewSet, "health")
_router.register("auth", views.SignInViewSet, "auth")
_router.register("workspaces", views.OwnWorkspaceViewSet, "workspace")
_router.register("workspaces/<str:workspace_id>", views.ApiKeyViewSet, "api-key")

urlpatterns = _router.urls
