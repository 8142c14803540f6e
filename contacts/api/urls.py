"""Routes of contacts in the native API, under `api/`."""

from contacts.api.imports import ImportViewSet
from contacts.api.views import ContactViewSet, ErasureViewSet, MergeViewSet
from workspaces.api.routers import Router

_router = Router()
_router.register("workspaces/<str:workspace_id>/contacts", ContactViewSet, "contact")
_router.register("workspaces/<str:workspace_id>/merges", MergeViewSet, "merge")
_router.register("workspaces/<str:workspace_id>/imports", ImportViewSet, "import")
_router.register("workspaces/<str:workspace_id>/erasures", ErasureViewSet, "erasure")

urlpatterns = _router.urls
