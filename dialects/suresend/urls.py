"""This vendor's routes, below its prefix and at the root."""

from django.urls import path, re_path

from dialects.suresend.views import EventsView, UnknownRouteView

urlpatterns = [
    path("events", EventsView.as_view(), name="suresend-events"),
    re_path(r"^", UnknownRouteView.as_view()),
]
# Its base path collides with nobody's, so the whole API stands at the root too.
root_urlpatterns = [
    path("api/partner/events", EventsView.as_view(), name="suresend-root-events"),
    re_path(r"^api/partner(?:/|$)", UnknownRouteView.as_view()),
]
