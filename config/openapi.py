"""The OpenAPI document and the page to browse it, both served without any other site."""

from typing import Any

from django.urls import reverse_lazy
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from workspaces.scopes import SCOPES, to_oauth

Document = dict[str, Any]
_METHODS = ("get", "put", "post", "delete", "patch")


class DocumentView(SpectacularAPIView):  # type: ignore[misc]  # drf-spectacular has no types
    """The document, as JSON, for everybody."""

    authentication_classes = ()
    permission_classes = ()
    renderer_classes = (OpenApiJsonRenderer,)


class DocumentationView(SpectacularSwaggerView):  # type: ignore[misc]  # as above
    """Swagger UI over the document."""

    authentication_classes = ()
    permission_classes = ()
    url_name = "openapi"


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
    for operation in _operations(result):
        if {"bearer": []} in operation.get("security", []):
            operation["security"].append({"oauth2": []})
    return result


def _operations(document: Document) -> list[Document]:
    return [
        operation
        for path in document.get("paths", {}).values()
        for method, operation in path.items()
        if method in _METHODS
    ]
