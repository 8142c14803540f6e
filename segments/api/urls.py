"""The native API's routes of segments, included under `api/`."""

from segments.api.views import MembershipViewSet, SegmentViewSet
from workspaces.api.routers import Router

router = Router()
router.register("workspaces/<str:workspace_id>/segments", SegmentViewSet, "segment")
router.register("workspaces/<str:workspace_id>/segments", MembershipViewSet, "segment-membership")

urlpatterns = router.urls
