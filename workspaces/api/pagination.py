"""Keyset pagination: each page begins after the last row of the one before."""

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
    """Newest first by id: `limit` rows of those `before` an id, answered as `{"data": […], "next": id or null}`.

    A subclass may page by another key, in another order. Rows that are no queryset's are given to
    `paginate_queryset` as a function, which returns so many of them after a key (None: from the first).
    """

    page_size: ClassVar[int] = 50
    max_page_size: ClassVar[int] = 200
    key_parameter: ClassVar[str] = "before"
    key_description: ClassVar[str] = "page by key: `next` of the page before"
    key_error: ClassVar[str] = "Must be the `next` of a page."
    key_attribute: ClassVar[str] = "id"
    # Whether one row more is read, to know if another page follows.
    looks_ahead: ClassVar[bool] = True

    next: str | None = None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Return the page's rows, and keep the key of the next one. Raises ValidationError."""
        limit = integer_parameter(request, "limit", self.page_size, highest=self.max_page_size)
        key, count = self.read_key(request), limit + self.looks_ahead
        if isinstance(queryset, QuerySet):
            rows = self.newest(queryset if key is None else self.after(queryset, key), count, view)
        else:
            rows = queryset(key, count)
        self.next = str(getattr(rows[limit - 1], self.key_attribute)) if len(rows) > limit else None
        return list(rows[:limit])

    def read_key(self, request: Request) -> Any:
        """Return the key that the page begins after, None for the first page. Raises ValidationError."""
        text = text_parameter(request, self.key_parameter)
        key = parse_uuid(text)
        if text is not None and key is None:
            raise ValidationError({self.key_parameter: [self.key_error]})
        return key

    def after(self, rows: QuerySet[Any], key: Any) -> QuerySet[Any]:
        """Return the rows that follow a key in the list's order."""
        return rows.filter(id__lt=key)

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
            "description": f"the next page's `{self.key_parameter}`; null on the last page",
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
            _parameter("limit", "integer", limits),
            _parameter(self.key_parameter, "string", self.key_description),
        ]


class BareListPagination(KeysetPagination):
    """Pages by key, answered as the bare list: the next page begins after the key of its last row."""

    looks_ahead = False

    def get_paginated_response(self, data: Any) -> Response:
        """Return the answer."""
        return Response(data)

    def get_paginated_response_schema(self, schema: Any) -> Any:
        """Return what the OpenAPI document says of the answer."""
        return schema


def _parameter(name: str, kind: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": {"type": kind}, "description": description}
