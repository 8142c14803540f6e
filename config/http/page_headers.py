"""Security headers of pages: Content-Security-Policy and the like."""

from typing import Any

from csp.middleware import CSPMiddleware, PolicyParts
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase
from django.urls import ResolverMatch, reverse
from django.utils.functional import cached_property

API_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
"""Of answers of the API: they are no pages, and for nobody but who asked; a view may say otherwise."""


def is_of_api(match: ResolverMatch | None) -> bool:
    """Tell whether a route leads to a view of the API."""
    return match is not None and hasattr(getattr(match.func, "cls", None), "error_table")


class PageHeadersMiddleware(CSPMiddleware):
    """Names what a page may load and use: CONTENT_SECURITY_POLICY; the admin's, that of ADMIN_SECURITY_POLICY."""

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Add the headers."""
        if is_of_api(request.resolver_match):
            for name, value in API_HEADERS.items():
                response.headers.setdefault(name, value)
            return response
        response.headers.setdefault("Permissions-Policy", settings.PERMISSIONS_POLICY)
        return super().process_response(request, response)

    def get_policy_parts(
        self, request: HttpRequest, response: HttpResponseBase, report_only: bool = False
    ) -> PolicyParts:
        """Return the policy of the page."""
        parts = super().get_policy_parts(request, response, report_only)
        if not report_only and request.path_info.startswith(self._admin):
            policy: Any = settings.ADMIN_SECURITY_POLICY
            parts.config = policy
        return parts

    @cached_property
    def _admin(self) -> str:
        return reverse("admin:index")
