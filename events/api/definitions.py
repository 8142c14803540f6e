"""Event definitions in the native format."""

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from config.ids import NO_ID, parse_uuid
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
from workspaces.api.strict import READ_REFUSALS, WRITE_REFUSALS, integer_parameter, read_body, text_parameter

_MAX_LIMIT = 1000
_PAGE_PARAMETERS = [
    OpenApiParameter("limit", int, description=f"1 to {_MAX_LIMIT}, 200 by default"),
    OpenApiParameter(
        "after", str, description="page by key: the name of the last definition before the page"
    ),
]


class DefinitionFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Search by name; only what was declared, or only what was merely seen."""

    search = django_filters.CharFilter(field_name="name", lookup_expr="icontains", max_length=255)
    declared = StrictBooleanFilter(field_name="is_declared")

    class Meta:
        model = EventDefinition
        fields: list[str] = []


class DefinitionViewSet(NativeViewSet):
    """The event definitions of a workspace."""

    queryset = EventDefinition.objects.none()
    serializer_class = DefinitionSerializer
    filterset_class = DefinitionFilterSet
    pagination_class = None
    lookup_url_kwarg = "definition_id"
    parameters = _PAGE_PARAMETERS
    scopes = {
        "GET": "definitions:read",
        "POST": "definitions:write",
        "PATCH": "definitions:write",
        "DELETE": "definitions:write",
    }

    def get_queryset(self) -> QuerySet[EventDefinition]:
        """Return the workspace's definitions that are not deleted."""
        return EventDefinition.objects.in_workspace(self.workspace.id).active().prefetch_related("properties")

    @extend_schema(
        operation_id="listEventDefinitions",
        tags=["event definitions"],
        parameters=_PAGE_PARAMETERS,
        responses={200: DefinitionSerializer(many=True), **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str) -> Response:
        """List definitions by name."""
        limit = integer_parameter(request, "limit", 200, highest=_MAX_LIMIT)
        definitions = self.filter_queryset(self.get_queryset()).order_by("name")
        if after := text_parameter(request, "after"):
            definitions = definitions.filter(name__gt=after)
        return Response(DefinitionSerializer(definitions[:limit], many=True).data)

    @extend_schema(
        operation_id="createEventDefinition",
        tags=["event definitions"],
        request=DefinitionBodySerializer,
        responses={201: DefinitionSerializer, **WRITE_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Declare an event and the properties that it carries."""
        attrs = read_body(DefinitionBodySerializer, request)
        definition = create_definition(
            self.workspace,
            attrs["name"],
            description=attrs.get("description", ""),
            properties=specs_from(attrs.get("properties", [])),
        )
        return Response(self._answer(definition), status=201)

    @extend_schema(
        operation_id="getEventDefinition",
        tags=["event definitions"],
        responses={200: DefinitionSerializer, **READ_REFUSALS},
    )
    def retrieve(self, request: Request, workspace_id: str, definition_id: str) -> Response:
        """Return a definition."""
        return Response(DefinitionSerializer(self._definition(definition_id)).data)

    @extend_schema(
        operation_id="updateEventDefinition",
        tags=["event definitions"],
        request=DefinitionChangeSerializer,
        responses={200: DefinitionSerializer, **WRITE_REFUSALS},
    )
    def partial_update(self, request: Request, workspace_id: str, definition_id: str) -> Response:
        """Replace the description or all the properties of a definition."""
        attrs = read_body(DefinitionChangeSerializer, request)
        properties = attrs.get("properties")
        definition = self._definition(definition_id)
        replace_definition(
            definition,
            description=attrs.get("description"),
            properties=None if properties is None else specs_from(properties),
        )
        return Response(self._answer(definition))

    @extend_schema(
        operation_id="deleteEventDefinition",
        tags=["event definitions"],
        responses={204: None, **READ_REFUSALS},
    )
    def destroy(self, request: Request, workspace_id: str, definition_id: str) -> Response:
        """Delete a definition; its events stay."""
        delete_definition(self._definition(definition_id))
        return Response(status=204)

    def _definition(self, text: str) -> EventDefinition:
        definition = self.get_queryset().filter(id=parse_uuid(text) or NO_ID).first()
        if definition is None:
            raise DefinitionNotFound(text)
        return definition

    def _answer(self, definition: EventDefinition) -> object:
        return DefinitionSerializer(self.get_queryset().get(id=definition.id)).data
