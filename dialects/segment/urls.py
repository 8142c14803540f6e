"""Routes of Segment's HTTP API, below our prefix and at the root: not every client takes a path before its own."""

from django.urls import URLPattern, URLResolver, include, path, re_path

from dialects.segment.page_settings import SettingsView, SourceConfigView
from dialects.segment.viewsets import (
    BATCH_PATH,
    CALL_PATH,
    CallViewSet,
    MetricsView,
    UnknownSegmentRouteView,
)
from workspaces.api.routers import VendorRouter

_router = VendorRouter()
_router.register("", CallViewSet, "segment")
_routes: list[URLPattern | URLResolver] = [
    *_router.urls,
    # As some senders write them; the document has each once.
    re_path(rf"^{CALL_PATH}/\Z", CallViewSet.as_view({"post": "send_call"}, schema=None)),
    re_path(rf"^{BATCH_PATH}/\Z", CallViewSet.as_view({"post": "send_batch"}, schema=None)),
    path("m", MetricsView.as_view()),
    path("projects/<str:write_key>/settings", SettingsView.as_view()),
]

# What RudderStack's client in a page has besides.
_rudder_pages: list[URLPattern | URLResolver] = [
    path("sourceConfig/", SourceConfigView.as_view()),
    path("beacon/v1/batch", CallViewSet.as_view({"post": "send_batch"}, schema=None)),
]

# Some clients have the version in their paths, some take it with the host.
urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", include(_routes)),
    *_rudder_pages,
    re_path("^", UnknownSegmentRouteView.as_view()),
]
# Its words collide with nobody's below this path, which others share.
root_urlpatterns: list[URLPattern | URLResolver] = [path("v1/", include(_routes)), *_rudder_pages]
