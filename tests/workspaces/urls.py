"""The routes of this floor, and a view of one workspace to try them on."""

from typing import Any

from django.contrib import admin
from django.urls import include, path
from rest_framework.request import Request
from rest_framework.response import Response

from workspaces.api.base import WorkspaceViewSet, object_body
from workspaces.api.errors import ErrorTable, Refusal
from workspaces.api.native import NativeViewSet


class ProbeViewSet(NativeViewSet):
    """Answers with what it knows of the request's access."""

    scopes = {"GET": "events:read", "POST": "events:write"}
    vendor_rate = "2/second"

    def show(self, request: Request, **_: Any) -> Response:
        credential: Any = request.auth
        return Response({"workspace": str(self.workspace.id), "kind": credential.kind})

    def echo(self, request: Request, **_: Any) -> Response:
        return Response(object_body(request), status=201)


def _vendor_body(refusal: Refusal) -> object:
    return {"message": refusal.message, "status": refusal.status}


class VendorViewSet(WorkspaceViewSet):
    """A wire format of its own."""

    scopes = {"POST": "events:write"}
    error_table = ErrorTable(
        _vendor_body,
        statuses={"malformed_body": 422, "not_an_object": 422},
        messages={"unauthenticated": "Unauthenticated."},
        bodies={"throttled": lambda refusal: {"retryAfter": refusal.wait_seconds}},
    )

    def create(self, request: Request) -> Response:
        object_body(request)
        return Response(status=204)


probe = ProbeViewSet.as_view({"get": "show", "post": "echo"})
urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/", include("workspaces.api.urls")),
    path("oauth2/", include("workspaces.api.oauth_urls")),
    path("probe", probe),
    path("probe/<str:workspace_id>", probe),
    path("vendor", VendorViewSet.as_view({"post": "create"})),
]
