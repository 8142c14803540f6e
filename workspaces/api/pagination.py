"""Pages of a list by key: the newest rows first, and where the next page begins."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from config.ids import parse_uuid
from workspaces.api.strict import integer_parameter, text_parameter


class KeysetPagination(BasePagination):
    """Newest first by id: `limit` rows of those `before` an id, answered as `{"data": […], "next": id or null}`."""

    page_size: ClassVar[int] = 50
    max_page_size: ClassVar[int] = 200
    limit_parameter: ClassVar[str] = "limit"
    before_parameter: ClassVar[str] = "before"

    next: str | None = None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Return the page's rows, and keep the key of the next one. Raises ValidationError."""
        limit = integer_parameter(request, self.limit_parameter, self.page_size, highest=self.max_page_size)
        text = text_parameter(request, self.before_parameter)
        before = parse_uuid(text)
        if text is not None and before is None:
            raise ValidationError({self.before_parameter: ["Must be the `next` of a page."]})
        if before is not None:
            queryset = queryset.filter(id__lt=before)
        rows = self.newest(queryset, limit + 1, view)
        self.next = str(rows[limit - 1].id) if len(rows) > limit else None
        return rows[:limit]

    def newest(self, rows: QuerySet[Any], count: int, view: Any) -> list[Any]:
        """Return so many of the rows; for a list where an order by id would be slow, another way to get them."""
        return list(rows.order_by("-id")[:count])

    def get_paginated_response(self, data: Any) -> Response:
        """Return the answer."""
        return Response({"data": data, "next": self.next})

    def get_paginated_response_schema(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the OpenAPI document says of the answer."""
        following = {
            "type": ["string", "null"],
            "description": f"the next page's `{self.before_parameter}`; null on the last page",
        }
        return {
            "type": "object",
            "properties": {"data": schema, "next": following},
            "required": ["data", "next"],
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Return what the OpenAPI document says of the parameters."""
        limits = f"1 to {self.max_page_size}, {self.page_size} by default"
        return [
            _parameter(self.limit_parameter, "integer", limits),
            _parameter(self.before_parameter, "string", "page by key: `next` of the page before"),
        ]

    @classmethod
    def parameters(cls) -> set[str]:
        """Return the names of the parameters."""
        return {cls.limit_parameter, cls.before_parameter}


def _parameter(name: str, kind: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind}, "description": description}
