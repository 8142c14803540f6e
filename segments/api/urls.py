"""The native API's routes on this floor, included under `api/`."""

from django.urls import path

from segments.api.views import (
    DraftView,
    ExplanationView,
    ImpactView,
    MembersView,
    PreviewView,
    PublishView,
    RebuildView,
    SegmentViewSet,
)

_SEGMENTS = "workspaces/<str:workspace_id>/segments"
_SEGMENT = f"{_SEGMENTS}/<str:segment_id>"

urlpatterns = [
    path(_SEGMENTS, SegmentViewSet.as_view({"get": "list", "post": "create"}), name="segments"),
    path(f"{_SEGMENTS}/preview", PreviewView.as_view(), name="segment-preview"),
    path(
        _SEGMENT,
        SegmentViewSet.as_view({"get": "retrieve", "patch": "partial_update", "delete": "destroy"}),
        name="segment",
    ),
    path(f"{_SEGMENT}/impact", ImpactView.as_view(), name="segment-impact"),
    path(f"{_SEGMENT}/publish", PublishView.as_view(), name="segment-publish"),
    path(f"{_SEGMENT}/draft", DraftView.as_view(), name="segment-draft"),
    path(f"{_SEGMENT}/rebuild", RebuildView.as_view(), name="segment-rebuild"),
    path(f"{_SEGMENT}/members", MembersView.as_view(), name="segment-members"),
    path(
        f"{_SEGMENT}/contacts/<str:contact_id>/explanation",
        ExplanationView.as_view(),
        name="segment-explanation",
    ),
]
