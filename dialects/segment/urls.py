"""This vendor's routes, below its prefix and at the root: not every client takes a path before the vendor's."""

from django.urls import URLPattern, URLResolver, include, path, re_path

from dialects.segment.viewsets import CallViewSet, MetricsView, SettingsView, UnknownSegmentRouteView
from workspaces.api.routers import VendorRouter

_router = VendorRouter()
_router.register("", CallViewSet, "segment")
_routes: list[URLPattern | URLResolver] = [
    *_router.urls,
    path("m", MetricsView.as_view()),
    path("projects/<str:write_key>/settings", SettingsView.as_view()),
]

# Some clients have the version in their paths, some take it with the host.
urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", include(_routes)),
    re_path("^", UnknownSegmentRouteView.as_view()),
]
# Its words collide with nobody's below this path, which others share.
root_urlpatterns: list[URLPattern | URLResolver] = [path("v1/", include(_routes))]
