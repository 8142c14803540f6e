"""Omnisend's routes of all its versions, below its prefix and at the root."""

from typing import Any

from django.urls import URLPattern, URLResolver, include, path, re_path

from dialects.omnisend.batches import BatchViewSet, OldBatchViewSet
from dialects.omnisend.brands import AccountViewSet, BrandViewSet
from dialects.omnisend.contacts import ContactViewSet, DatedContactViewSet, OldContactViewSet
from dialects.omnisend.events import EventViewSet, OldEventViewSet
from dialects.omnisend.fallback import (
    NoKeyView,
    NotServedView,
    OldNotServedView,
    UnknownOmnisendRouteView,
)
from dialects.omnisend.track import TrackViewSet
from workspaces.api.routers import VendorRouter


def _routes(*viewsets: Any) -> list[Any]:
    router = VendorRouter()
    for viewset in viewsets:
        router.register("", viewset, viewset.__name__)
    return list(router.urls)


_V3 = _routes(OldEventViewSet, OldContactViewSet, OldBatchViewSet, AccountViewSet)
_V4 = _routes(TrackViewSet)
_V5 = _routes(EventViewSet, ContactViewSet, BatchViewSet, BrandViewSet)
# Its version is in a header, and all of them are alike.
_DATED = _routes(EventViewSet, DatedContactViewSet, BatchViewSet, BrandViewSet)
_unknown = UnknownOmnisendRouteView.as_view()
_not_served, _old_not_served = NotServedView.as_view(), OldNotServedView.as_view()
_BASES: list[URLPattern | URLResolver] = [
    path("v3/", include(_V3)),
    re_path("^v3(?:/|$)", _old_not_served),
    path("v4/", include(_V4)),
    re_path("^v4(?:/|$)", _unknown),
    path("v5/", include(_V5)),
    re_path("^v5(?:/|$)", _not_served),
    path("api/", include(_DATED)),
]
# Of the vendor's resources below `api/` those that are not here; `forms` is a word of the native API there.
_OUTSIDE = "products|product-categories|categories|orders|carts|campaigns|automations|segments|event-metadata"

urlpatterns: list[URLPattern | URLResolver] = [
    *_BASES,
    re_path("^api(?:/|$)", _not_served),
    re_path("^", _unknown),
]
# Its base paths collide with nobody's, and its words below `api/` with nobody's there.
root_urlpatterns: list[URLPattern | URLResolver] = [
    *_BASES,
    re_path(rf"^api/(?:{_OUTSIDE})(?:/|\Z)", _not_served),
    re_path(r"^woocommerce/events/track\Z", NoKeyView.as_view()),
]
