"""What clients ask of the brand: whether their key is good, and whom it belongs to."""

from typing import Any

from drf_spectacular.utils import OpenApiResponse
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from config.ids import parse_uuid
from dialects.omnisend.base import OmnisendAccess, document
from dialects.omnisend.errors import V3_ERRORS, V5_ERRORS, NotServed
from workspaces.api.base import WorkspaceViewSet, object_body
from workspaces.api.openapi import component
from workspaces.models import Workspace

_BRAND = component(
    "OmnisendBrand",
    {
        "type": "object",
        "properties": {
            **{name: {"type": "string"} for name in ("brandID", "name", "website", "platform", "version")},
            **{name: {"type": "boolean"} for name in ("connected", "verified")},
        },
        "required": ["brandID", "name", "platform", "connected", "verified"],
    },
)
_CONNECTS = "Connect a site; of what it says of itself nothing is kept"


class BrandViewSet(OmnisendAccess, WorkspaceViewSet):
    """The brand, which is the workspace."""

    queryset = Workspace.objects.none()
    error_table = V5_ERRORS
    repeats_harmlessly = "it changes nothing"

    @document("Get the brand of the key", {200: OpenApiResponse(_BRAND)})
    @action(detail=False, url_path="brands/current", url_name="omnisend-brand")
    def brand(self, request: Request, **kwargs: Any) -> Response:
        """Return the brand."""
        return Response(_render(self.workspace))

    @document(_CONNECTS, {200: OpenApiResponse(_BRAND)}, body=component("OmnisendSite", {"type": "object"}))
    @brand.mapping.post
    def connect(self, request: Request, **kwargs: Any) -> Response:
        """Return the brand, as connected with the site's platform."""
        return Response(_connected(self.workspace, object_body(request)))


class AccountViewSet(OmnisendAccess, WorkspaceViewSet):
    """The brand as v3 calls it: the account."""

    queryset = Workspace.objects.none()
    error_table = V3_ERRORS
    repeats_harmlessly = "it changes nothing"

    @document("Get the account of the key", {200: OpenApiResponse(_BRAND)})
    @action(detail=False, url_path="accounts", url_name="omnisend-account")
    def account(self, request: Request, **kwargs: Any) -> Response:
        """Return the account."""
        return Response(_render(self.workspace))

    @document(_CONNECTS, {200: OpenApiResponse(_BRAND)}, body=component("OmnisendSite", {"type": "object"}))
    @account.mapping.post
    def connect(self, request: Request, **kwargs: Any) -> Response:
        """Return the account, as connected with the site's platform."""
        return Response(_connected(self.workspace, object_body(request)))

    @document(_CONNECTS, {200: OpenApiResponse(_BRAND)}, body=component("OmnisendSite", {"type": "object"}))
    @action(
        detail=False,
        methods=["post"],
        url_path=r"accounts/(?P<brand_id>[^/]+)",
        url_name="omnisend-account-by-id",
    )
    def connect_by_id(self, request: Request, brand_id: str, **kwargs: Any) -> Response:
        """Return the account with the id, as connected. Raises NotServed for another one."""
        if parse_uuid(brand_id) != self.workspace.id:
            raise NotServed
        return Response(_connected(self.workspace, object_body(request)))


def _render(workspace: Workspace) -> dict[str, Any]:
    # A platform would make the vendor's plugins refuse: the brand would be another platform's.
    unknown = dict.fromkeys(("website", "platform", "version"), "")
    return {
        "brandID": str(workspace.id),
        "name": workspace.name,
        **unknown,
        "connected": True,
        "verified": True,
    }


def _connected(workspace: Workspace, site: dict[str, Any]) -> dict[str, Any]:
    said = {
        name: site[name] for name in ("website", "platform", "version") if isinstance(site.get(name), str)
    }
    return _render(workspace) | said
