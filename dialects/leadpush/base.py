"""What Leadpush's endpoints share: both generations' answers, bodies, pages and descriptions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, TypeVar

from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema, inline_serializer
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from contacts.models import Field
from dialects.leadpush.errors import LEADPUSH_ERRORS, invalid
from dialects.leadpush.pagination import LeadpushPagination
from dialects.leadpush.serializers import LeadpushErrorSerializer
from workspaces.api.base import WorkspaceViewSet, object_body
from workspaces.authentication.schemes import BearerAuthentication

Action = TypeVar("Action", bound=Callable[..., Any])
_REFUSALS = dict.fromkeys((400, 401, 403, 404, 422, 429), LeadpushErrorSerializer)
_BODY_REFUSALS = dict.fromkeys((409, 413, 415), LeadpushErrorSerializer)


def document(
    summary: str, answers: Mapping[int, Any], *, body: Any = None, parameters: Sequence[Any] = ()
) -> Callable[[Action], Action]:
    """Return the decorator that says of an action what the OpenAPI document cannot derive."""
    return extend_schema(
        tags=["Leadpush"],
        summary=summary,
        parameters=parameters,
        request=body,
        responses={**answers, **_REFUSALS, **(_BODY_REFUSALS if body else {})},
    )


@cache
def wrapped(serializer: type[Serializer[Any]]) -> Serializer[Any]:
    """Describe an object in `data`, as one component wherever it stands."""
    name = serializer.__name__.removesuffix("Serializer")
    return inline_serializer(f"{name}Data", {"data": serializer()})


def single(serializer: type[Serializer[Any]]) -> PolymorphicProxySerializer:
    """Describe an object: bare where the path names the workspace, else wrapped in `data`."""
    name = serializer.__name__.removesuffix("Serializer")
    return PolymorphicProxySerializer(f"{name}Object", [wrapped(serializer), serializer], None)


class LeadpushViewSet(WorkspaceViewSet):
    """Objects of a workspace in this format; the action's serializer reads and renders them."""

    authentication_classes = (BearerAuthentication,)
    error_table = LEADPUSH_ERRORS
    workspace_kwarg = "workspace"
    pagination_class: Any = LeadpushPagination

    @property
    def names_workspace(self) -> bool:
        """Whether this is the generation with the workspace in the path."""
        return self.workspace_kwarg in self.kwargs

    @property
    def identity_field(self) -> str:
        """The name of the attribute that names a contact."""
        return self.workspace.identity_field

    @cached_property
    def declared_fields(self) -> list[str]:
        """The names of the workspace's contact fields."""
        fields = Field.objects.in_workspace(self.workspace.id)
        return list(fields.order_by("id").values_list("name", flat=True))

    def validated(self, serializer_class: type[Serializer[Any]], *, partial: bool = False) -> dict[str, Any]:
        """Return the body as the serializer reads it. Raises NotAnObject or a 422."""
        serializer = serializer_class(
            data=object_body(self.request), partial=partial, context=self.get_serializer_context()
        )
        if not serializer.is_valid():
            raise invalid(serializer.errors)
        validated: dict[str, Any] = serializer.validated_data
        return validated

    def answer(self, instance: Any, status: int = 200) -> Response:
        """Answer a single object: bare in the older generation, wrapped in the newer."""
        shown = self.get_serializer(instance).data
        return Response(shown if self.names_workspace else {"data": shown}, status=status)

    def answer_page(self, rows: Iterable[Any]) -> Response:
        """Answer the rows of a page."""
        return self.get_paginated_response(self.get_serializer(rows, many=True).data)
