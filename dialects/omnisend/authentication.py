"""API keys as Omnisend's clients send them."""

import re
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.request import Request

from workspaces.authentication.schemes import Authenticated, BearerAuthentication

_SCHEME = "omnisend-api-key"
# The official PHP client refuses a key without a hyphen: there it is written after the workspace's id.
_WITH_BRAND = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-(?=.)", re.IGNORECASE)


class HeaderKeyAuthentication(BearerAuthentication):
    """`X-API-KEY: …`, or `Authorization: Omnisend-API-Key …`; the key may follow the workspace's id and a hyphen."""

    def authenticate(self, request: Request) -> Authenticated | None:
        """Return user and credential; None without such a header. Raises AuthenticationFailed."""
        secret: str = request.META.get("HTTP_X_API_KEY", "").strip()
        scheme, _, value = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
        if scheme.lower() == _SCHEME:
            secret = value.strip()
        if not secret:
            return None
        return self.authenticate_secret(request, _WITH_BRAND.sub("", secret, count=1))


class HeaderKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """API keys in a header of their own."""

    target_class = "dialects.omnisend.authentication.HeaderKeyAuthentication"
    # Before that of bearers, of which it is a subclass.
    priority = 1
    name = "omnisendKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the scheme."""
        return {
            "type": "apiKey",
            "in": "header",
            "name": "X-API-KEY",
            "description": "An API key; also as `Authorization: Omnisend-API-Key …`.",
        }
