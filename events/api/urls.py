"""The native API's routes on this floor, included under `api/`."""

from django.urls import path

from events.api.definitions import DefinitionViewSet
from events.api.views import EffectsView, EventBatchView, EventsView, EventView

urlpatterns = [
    path("workspaces/<str:workspace_id>/events", EventsView.as_view(), name="events"),
    path("workspaces/<str:workspace_id>/events/batch", EventBatchView.as_view(), name="events-batch"),
    path("workspaces/<str:workspace_id>/events/<str:event_id>", EventView.as_view(), name="event"),
    path("workspaces/<str:workspace_id>/effects", EffectsView.as_view(), name="effects"),
    path(
        "workspaces/<str:workspace_id>/event-definitions",
        DefinitionViewSet.as_view({"get": "list", "post": "create"}),
        name="event-definitions",
    ),
    path(
        "workspaces/<str:workspace_id>/event-definitions/<str:definition_id>",
        DefinitionViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="event-definition",
    ),
]
