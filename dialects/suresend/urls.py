"""Sure Send's routes, below its prefix and at the root."""

from django.urls import URLPattern, URLResolver, include, path, re_path

from dialects.suresend.people import PersonViewSet
from dialects.suresend.viewsets import EventViewSet, UnknownSureSendRouteView
from workspaces.api.routers import VendorRouter

_router = VendorRouter()
_router.register("", EventViewSet, "suresend-event")
_router.register("", PersonViewSet, "suresend-person")
_unknown = UnknownSureSendRouteView.as_view()

urlpatterns: list[URLPattern | URLResolver] = [*_router.urls, re_path("^", _unknown)]
# Its base path collides with nobody's, so the whole API stands at the root too.
root_urlpatterns: list[URLPattern | URLResolver] = [
    path("api/partner/", include(_router.urls)),
    re_path("^api/partner(?:/|$)", _unknown),
]
