"""The base of the native API: camelCase, `{"error": …, "details": …}`."""

from typing import Any

from workspaces.api.base import RefusalsInOwnFormat, WorkspaceAPIView, WorkspaceViewSet, object_body
from workspaces.api.errors import NATIVE_ERRORS
from workspaces.authentication import BearerAuthentication, QueryKeyAuthentication, SessionAuthentication

__all__ = ["NativeAPIView", "NativePublicView", "NativeViewSet", "object_body"]

_AUTHENTICATION: Any = (BearerAuthentication, QueryKeyAuthentication, SessionAuthentication)


class NativeAPIView(WorkspaceAPIView):
    """A view of `/api/workspaces/{workspace_id}/…`."""

    authentication_classes = _AUTHENTICATION
    error_table = NATIVE_ERRORS


class NativeViewSet(WorkspaceViewSet):
    """A viewset of `/api/workspaces/{workspace_id}/…`."""

    authentication_classes = _AUTHENTICATION
    error_table = NATIVE_ERRORS


class NativePublicView(RefusalsInOwnFormat):
    """A view of the native API that belongs to no workspace."""

    authentication_classes: Any = ()
    error_table = NATIVE_ERRORS
