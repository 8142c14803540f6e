"""Leadpush's routes: below its prefix, and at the root those that name the workspace."""

from django.urls import URLPattern, URLResolver, include, path, re_path

from dialects.leadpush.emails import EmailViewSet, SuppressionViewSet
from dialects.leadpush.viewsets import ContactViewSet, EventViewSet, FieldViewSet, UnknownLeadpushRouteView
from workspaces.api.routers import VendorRouter

_router = VendorRouter()
# What stands below a contact comes before the contact's own path, which matches it too.
_router.register("", EventViewSet, "leadpush-event")
_router.register("", ContactViewSet, "leadpush-contact")
_router.register("", FieldViewSet, "leadpush-field")
_router.register("", EmailViewSet, "leadpush-email")
_router.register("", SuppressionViewSet, "leadpush-suppression")
_unknown = UnknownLeadpushRouteView.as_view()
_in_workspace = path("workspaces/<str:workspace>/", include(_router.urls))

urlpatterns: list[URLPattern | URLResolver] = [*_router.urls, _in_workspace, re_path("^", _unknown)]
root_urlpatterns: list[URLPattern | URLResolver] = [
    path("v1/", include([_in_workspace])),
    re_path("^v1/workspaces(?:/|$)", _unknown),
]
