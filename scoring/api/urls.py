"""The native API's routes on this floor, included under `api/`."""

from django.urls import path

from scoring.api.views import ContactScoreView, RulePreviewView, ScoringRuleViewSet

urlpatterns = [
    path(
        "workspaces/<str:workspace_id>/scoring-rules",
        ScoringRuleViewSet.as_view({"get": "list", "post": "create"}),
        name="scoring-rules",
    ),
    path(
        "workspaces/<str:workspace_id>/scoring-rules/preview",
        RulePreviewView.as_view(),
        name="scoring-rule-preview",
    ),
    path(
        "workspaces/<str:workspace_id>/scoring-rules/<str:rule_id>/rescore",
        ScoringRuleViewSet.as_view({"post": "rescore"}),
        name="scoring-rule-rescore",
    ),
    path(
        "workspaces/<str:workspace_id>/scoring-rules/<str:rule_id>",
        ScoringRuleViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="scoring-rule",
    ),
    path(
        "workspaces/<str:workspace_id>/contacts/<str:contact_id>/score",
        ContactScoreView.as_view(),
        name="contact-score",
    ),
]
