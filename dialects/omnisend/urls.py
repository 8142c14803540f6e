"""Omnisend's routes, below its prefix and at the root."""

from django.urls import URLPattern, URLResolver, include, path, re_path

from dialects.omnisend.viewsets import TrackViewSet, UnknownOmnisendRouteView
from workspaces.api.routers import VendorRouter

_router = VendorRouter()
_router.register("", TrackViewSet, "omnisend")
_unknown = UnknownOmnisendRouteView.as_view()

urlpatterns: list[URLPattern | URLResolver] = [*_router.urls, re_path("^", _unknown)]
# Its base path collides with nobody's, so the whole API stands at the root too.
root_urlpatterns: list[URLPattern | URLResolver] = [
    path("v4/", include(_router.urls)),
    re_path("^v4(?:/|$)", _unknown),
]
