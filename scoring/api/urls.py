"""The native API's routes of scoring, included under `api/`."""

from scoring.api.views import ContactScoreViewSet, ScoringRuleViewSet
from workspaces.api.routers import Router

_WORKSPACE = "workspaces/<str:workspace_id>"

router = Router()
router.register(f"{_WORKSPACE}/scoring-rules", ScoringRuleViewSet, "scoring-rule")
router.register(f"{_WORKSPACE}/contacts/<str:contact_id>", ContactScoreViewSet, "contact")

urlpatterns = router.urls
