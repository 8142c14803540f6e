"""Event definitions in the native format."""

from typing import Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from events.api.serializers import (
    DefinitionBodySerializer,
    DefinitionChangeSerializer,
    DefinitionSerializer,
    specs_from,
)
from events.errors import DefinitionNotFound
from events.models import EventDefinition
from events.stream.definitions import create_definition, delete_definition, replace_definition
from workspaces.api.filters import StrictBooleanFilter
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import BareListPagination
from workspaces.api.strict import READ_REFUSALS, read_body, text_parameter


class DefinitionPagination(BareListPagination):
    """Pages of definitions by name."""

    page_size = 200
    max_page_size = 1000
    key_parameter = "after"
    key_description = "page by key: the name of the last definition before the page"

    def read_key(self, request: Request) -> str | None:
        """Return the name that the page begins after."""
        return text_parameter(request, self.key_parameter)

    def after(self, rows: QuerySet[Any], key: str) -> QuerySet[Any]:
        """Return the definitions after a name."""
        return rows.filter(name__gt=key)

    def newest(self, rows: QuerySet[Any], count: int, view: Any) -> list[Any]:
        """Return so many of the definitions, by name."""
        return list(rows.order_by("name")[:count])


class DefinitionFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Search by name; only what was declared, or only what was merely seen."""

    search = django_filters.CharFilter(field_name="name", lookup_expr="icontains", max_length=255)
    declared = StrictBooleanFilter(field_name="is_declared")

    class Meta:
        model = EventDefinition
        fields: list[str] = []


class DefinitionViewSet(NativeViewSet):
    """The event definitions of a workspace."""

    tag = "event definitions"
    queryset = EventDefinition.objects.active().prefetch_related("properties")
    serializer_class = DefinitionSerializer
    filterset_class = DefinitionFilterSet
    pagination_class = DefinitionPagination
    not_found = DefinitionNotFound
    lookup_url_kwarg = "definition_id"
    scope = "definitions"

    @extend_schema(operation_id="listEventDefinitions")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List definitions by name."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(DefinitionSerializer(page, many=True).data)

    @extend_schema(
        operation_id="createEventDefinition",
        request=DefinitionBodySerializer,
        responses={201: DefinitionSerializer},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Declare an event and the properties that it carries."""
        attrs = read_body(DefinitionBodySerializer, request)
        definition = create_definition(
            self.workspace.id,
            attrs["name"],
            description=attrs.get("description", ""),
            properties=specs_from(attrs.get("properties", [])),
        )
        return Response(self._answer(definition), status=201)

    @extend_schema(operation_id="getEventDefinition")
    def retrieve(self, request: Request, workspace_id: str, definition_id: str) -> Response:
        """Return a definition."""
        return Response(DefinitionSerializer(self.get_object()).data)

    @extend_schema(
        operation_id="updateEventDefinition",
        request=DefinitionChangeSerializer,
        responses={200: DefinitionSerializer},
    )
    def partial_update(self, request: Request, workspace_id: str, definition_id: str) -> Response:
        """Replace the description or all the properties of a definition."""
        attrs = read_body(DefinitionChangeSerializer, request)
        properties = attrs.get("properties")
        definition = self.get_object()
        replace_definition(
            definition,
            description=attrs.get("description"),
            properties=None if properties is None else specs_from(properties),
        )
        return Response(self._answer(definition))

    @extend_schema(operation_id="deleteEventDefinition", responses={204: None, **READ_REFUSALS})
    def destroy(self, request: Request, workspace_id: str, definition_id: str) -> Response:
        """Delete a definition; its events stay."""
        delete_definition(self.get_object())
        return Response(status=204)

    def _answer(self, definition: EventDefinition) -> object:
        return DefinitionSerializer(self.get_queryset().get(id=definition.id)).data
