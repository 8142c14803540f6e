"""All routes: native API, vendors' APIs, admin, probes, documentation."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path

from config.http.metrics import show_metrics
from dialects.autosend import urls as autosend
from dialects.leadpush import urls as leadpush
from dialects.omnisend import urls as omnisend
from dialects.segment import urls as segment
from dialects.suresend import urls as suresend
from workspaces.api.fallback import NoSuchRoute
from workspaces.api.openapi_views import DocumentationView, DocumentView
from workspaces.api.probes import LiveView, ReadyView
from workspaces.staff.pages import change_own_password, page_of_row

handler400 = "workspaces.api.fallback.bad_request"
handler404 = "workspaces.api.fallback.page_not_found"
handler500 = "workspaces.api.fallback.server_error"
handler503 = "workspaces.api.fallback.overloaded"

urlpatterns: list[URLPattern | URLResolver] = [
    # Ingestion first: routes are tried in this order.
    path("api/", include("events.api.urls")),
    *autosend.root_urlpatterns,
    *leadpush.root_urlpatterns,
    *suresend.root_urlpatterns,
    *omnisend.root_urlpatterns,
    *segment.root_urlpatterns,
    path("autosend/v1/", include(autosend)),
    path("leadpush/v1/", include(leadpush)),
    path("suresend/api/partner/", include(suresend)),
    path("omnisend/", include(omnisend)),
    path("segment/", include(segment)),
    path("livez", LiveView.as_view(), name="livez"),
    path("readyz", ReadyView.as_view(), name="readyz"),
    path("metrics", show_metrics, name="metrics"),
    path("admin/password_change/", admin.site.admin_view(change_own_password)),
    path("admin/r/<int:content_type_id>/<path:object_id>/", admin.site.admin_view(page_of_row)),
    path("admin/", admin.site.urls),
    path("docs", DocumentationView.as_view(), name="docs"),
    path("api/openapi", DocumentView.as_view(), name="openapi"),
    path("api/", include("contacts.api.urls")),
    path("api/", include("scoring.api.urls")),
    path("api/", include("segments.api.urls")),
    path("api/", include("campaigns.api.urls")),
    path("", include("campaigns.public.urls")),
    path("api/", include("workspaces.api.urls")),
    path("oauth2/", include("workspaces.api.oauth_urls")),
    re_path("^api/", NoSuchRoute.as_view()),
]
