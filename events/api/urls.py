"""Routes of events in the native API, under `api/`."""

from events.api.definitions import DefinitionViewSet
from events.api.refused import RefusedEventViewSet
from events.api.views import EffectsViewSet, EventViewSet
from workspaces.api.routers import Router

_router = Router()
_router.register("workspaces/<str:workspace_id>/events", EventViewSet, "event")
_router.register("workspaces/<str:workspace_id>/refused-events", RefusedEventViewSet, "refused-event")
_router.register("workspaces/<str:workspace_id>", EffectsViewSet, "effect")
_router.register("workspaces/<str:workspace_id>/event-definitions", DefinitionViewSet, "event-definition")

urlpatterns = _router.urls
