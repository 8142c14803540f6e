"""What the OpenAPI document says about the ways to authenticate."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from workspaces.authentication.schemes import QUERY_KEY


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """API keys, OAuth tokens and JWTs."""

    target_class = "workspaces.authentication.schemes.BearerAuthentication"
    match_subclasses = True
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the scheme."""
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key, an OAuth 2.0 token (`/oauth2/token`) or a JWT (`/api/auth/token`).",
        }


class QueryKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """API keys in the address."""

    target_class = "workspaces.authentication.schemes.QueryKeyAuthentication"
    name = "queryKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the scheme."""
        return {
            "type": "apiKey",
            "in": "query",
            "name": QUERY_KEY,
            "description": "An API key, for GET only.",
        }


class PageKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """API keys in the address that a page posts to."""

    target_class = "workspaces.authentication.schemes.PageKeyAuthentication"
    name = "pageKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the scheme."""
        told = "A key with no scope but events:write, in a POST from a page of the workspace's origins."
        return {"type": "apiKey", "in": "query", "name": "key", "description": told}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The session cookie."""

    target_class = "workspaces.authentication.schemes.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the scheme."""
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "The cookie of `/api/auth/login`; writes also carry `X-CSRFToken`.",
        }
