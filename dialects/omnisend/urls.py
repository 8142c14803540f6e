"""This vendor's routes, below its prefix and at the root."""

from django.urls import path, re_path

from dialects.omnisend.views import TrackView, UnknownRouteView

urlpatterns = [
    path("track", TrackView.as_view(), name="omnisend-track"),
    re_path(r"^", UnknownRouteView.as_view()),
]
# Its base path collides with nobody's, so the whole API stands at the root too.
root_urlpatterns = [
    path("v4/track", TrackView.as_view(), name="omnisend-root-track"),
    re_path(r"^v4(?:/|$)", UnknownRouteView.as_view()),
]
