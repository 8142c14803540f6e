"""OpenAPI: names of operations and authentication schemes for drf-spectacular."""

import re
from copy import deepcopy
from typing import Any, ClassVar

from django.urls import reverse_lazy
from drf_spectacular.extensions import OpenApiAuthenticationExtension, OpenApiSerializerExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers

from workspaces.authentication.schemes import QUERY_KEY
from workspaces.scopes import SCOPES, to_oauth

Document = dict[str, Any]
# Whose body is a refusal as the wire format writes it.
_REFUSALS = ("400", "422", "403")
_METHODS = {"get", "put", "post", "delete", "patch"}
_IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="The same key and body again gets the first answer again; with another body, 409.",
)


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


class BasicKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """API keys as the name of HTTP's basic authentication."""

    target_class = "workspaces.authentication.schemes.BasicKeyAuthentication"
    match_subclasses = True
    # Before that of bearers, of which it is a subclass.
    priority = 1
    name = "basicKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        """Return the scheme."""
        return {
            "type": "http",
            "scheme": "basic",
            "description": "An API key as the name, without a password.",
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
        description = (
            "A key with no scope but events:write, in a POST from a page of the workspace's origins."
        )
        return {"type": "apiKey", "in": "query", "name": "key", "description": description}


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


class SchemaSerializer(serializers.BaseSerializer[Any]):
    """A component of the document that follows from something else than a serializer; nothing is read by it."""

    json_schema: ClassVar[Document]


def component(name: str, schema: Document) -> type[SchemaSerializer]:
    """Return what stands for a JSON schema in `extend_schema`, as a component of that name."""
    return type(f"{name}Serializer", (SchemaSerializer,), {"json_schema": schema})


class SchemaSerializerExtension(OpenApiSerializerExtension):  # type: ignore[no-untyped-call]
    """The components that are made of a JSON schema."""

    target_class = "workspaces.api.openapi.SchemaSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema: Any, direction: Any) -> Document:
        """Return a copy of the schema: what names the enumerations takes them out of it."""
        return deepcopy(self.target.json_schema)


class Schema(AutoSchema):
    """Operations are named by their whole path: a wire format may stand at two of them."""

    def get_operation_id(self) -> str:
        """Return e.g. `v4_contacts_by_id_get`, unless the view says otherwise."""
        path = re.sub(r"{(\w+)}", r"by_\1", self.path)
        words = re.findall(r"\w+", path)
        return "_".join([*words, self.method.lower()])

    def get_tags(self) -> list[str]:
        """Return the viewset's `tag`; without one, the first word of the path."""
        tag: str = getattr(self.view, "tag", "")
        return [tag] if tag else super().get_tags()

    def get_override_parameters(self) -> list[Any]:
        """Return the header that a POST is answered once by, unless its view says that it needs none."""
        is_answered_once = self.method == "POST" and getattr(self.view, "repeats_harmlessly", None) == ""
        return [*super().get_override_parameters(), *([_IDEMPOTENCY_KEY] if is_answered_once else [])]

    def _get_response_bodies(self, direction: Any = "response") -> Document:
        """Add the view's `refusals` of the method, unless the operation names its own."""
        responses: Document = super()._get_response_bodies(direction)
        if not any(status >= "400" for status in responses):
            for status, refusal in getattr(self.view, "refusals", {}).get(self.method, {}).items():
                described = self._get_response_for_code(refusal, str(status), direction=direction)  # type: ignore[no-untyped-call]
                responses[str(status)] = described
        return responses

    def get_operation(self, *args: Any, **kwargs: Any) -> Document | None:
        """Return the operation; one that is answered once refuses a key that was another request's."""
        operation: Document | None = super().get_operation(*args, **kwargs)
        if operation and any(
            each.get("name") == _IDEMPOTENCY_KEY.name for each in operation.get("parameters", ())
        ):
            responses = operation["responses"]
            refusal: Document = next((responses[status] for status in _REFUSALS if status in responses), {})
            responses.setdefault("409", {**refusal, "description": "The key was used with another request"})
        return operation


def add_oauth(result: Document, generator: Any, request: Any, public: bool) -> Document:
    """Describe OAuth 2.0 beside the other ways to authenticate: what a bearer token opens, such a token opens."""
    scopes = {oauth: SCOPES[name] for name, oauth in zip(SCOPES, to_oauth(SCOPES), strict=True)}
    token_url = str(reverse_lazy("oauth2-token"))
    flows = {
        "clientCredentials": {"tokenUrl": token_url, "scopes": scopes},
        "authorizationCode": {
            "authorizationUrl": str(reverse_lazy("oauth2-authorize")),
            "tokenUrl": token_url,
            "scopes": scopes,
        },
    }
    schemes = result.setdefault("components", {}).setdefault("securitySchemes", {})
    schemes["oauth2"] = {"type": "oauth2", "flows": flows}
    for path in result.get("paths", {}).values():
        for method in path.keys() & _METHODS:
            _complete(path[method].get("security", []), method)
    return result


def _complete(security: list[Document], method: str) -> None:
    if {"bearer": []} in security:
        security.append({"oauth2": []})
    for name, only in (("queryKey", "get"), ("pageKey", "post")):
        if {name: []} in security and method != only:
            security.remove({name: []})
