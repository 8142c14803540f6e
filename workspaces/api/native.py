"""The base of the native API: camelCase, `{"error": …, "details": …}`."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.viewsets import ViewSetMixin

from workspaces.api.base import (
    ErrorTableMixin,
    WorkspaceAccess,
    WorkspaceViewSet,
    object_body,
)
from workspaces.api.errors import NATIVE_ERRORS
from workspaces.api.strict import READ_REFUSALS, WRITE_REFUSALS
from workspaces.authentication.schemes import (
    QUERY_KEY,
    BearerAuthentication,
    QueryKeyAuthentication,
    SessionAuthentication,
)

__all__ = ["NativePublicView", "NativePublicViewSet", "NativeViewSet", "object_body"]

_AUTHENTICATION: Any = (BearerAuthentication, QueryKeyAuthentication, SessionAuthentication)


class KnownParameters(WorkspaceAccess):
    """A view that reads nothing past a parameter that it does not know: a list would be another than was asked for.

    Known are the filters, the pagination's and the `parameters` of a list, or of a view without actions; of
    another action, those of its decorator: `@action(…, parameters=[…], pagination_class=…)`.
    """

    parameters: ClassVar[Sequence[OpenApiParameter]] = ()

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse what the address asks for besides. Raises ValidationError."""
        super().initial(request, *args, **kwargs)
        if request.method in ("GET", "HEAD") and (
            unknown := set(request.query_params) - self.known_parameters()
        ):
            raise ValidationError({name: ["This parameter is not known."] for name in sorted(unknown)})

    def known_parameters(self) -> set[str]:
        """Return the names of what the address may ask for here."""
        read = vars(self)
        if getattr(self, "action", "list") == "list":
            kinds = ("parameters", "filterset_class", "pagination_class")
            read = {kind: getattr(self, kind, None) for kind in kinds}
        names = {QUERY_KEY, *(parameter.name for parameter in read.get("parameters") or ())}
        if filters := read.get("filterset_class"):
            names |= filters.get_filters().keys()
        if pages := read.get("pagination_class"):
            names |= {each["name"] for each in pages().get_schema_operation_parameters(self)}
        return names


class NativeViewSet(KnownParameters, WorkspaceViewSet):
    """A viewset of `/api/workspaces/{workspace_id}/…`; the OpenAPI document has its operations under `tag`.

    `refusals` are what it says of errors, by method and status, for operations that name none.
    """

    authentication_classes = _AUTHENTICATION
    error_table = NATIVE_ERRORS
    tag: ClassVar[str] = ""
    refusals: ClassVar[Mapping[str, Mapping[int, Any]]] = {
        "GET": READ_REFUSALS,
        **dict.fromkeys(("POST", "PUT", "PATCH", "DELETE"), WRITE_REFUSALS),
    }


class NativePublicView(ErrorTableMixin):
    """A view of the native API that belongs to no workspace."""

    authentication_classes: Any = ()
    error_table = NATIVE_ERRORS


class NativePublicViewSet(ViewSetMixin, NativePublicView):
    """A viewset of the native API that belongs to no workspace."""
