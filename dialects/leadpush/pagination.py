"""Leadpush's pages: by number, with a `meta` that tells how many there are."""

import math
import re
from typing import Any

from django.http import QueryDict
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from contacts.api.paging import total_of
from dialects.leadpush.errors import invalid

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
DEFAULT_SIZE = 10
MAX_SIZE = 100
MAX_NUMBER = 10**9
_META = ("current_page", "per_page", "total", "last_page")


def parse_page(query: QueryDict) -> tuple[int, int]:
    """Return the number and size of the page that a query asks for. Raises a 422 that names every problem."""
    errors: dict[str, list[str]] = {}
    number = _integer(query, "page", 1, errors)
    size = _integer(query, "per_page", DEFAULT_SIZE, errors)
    if number < 1:
        errors.setdefault("page", []).append("must be at least 1")
    if errors:
        raise invalid(errors)
    return min(number, MAX_NUMBER), min(max(size, 1), MAX_SIZE)


def _integer(query: QueryDict, name: str, default: int, errors: dict[str, list[str]]) -> int:
    text = query.get(name, "").strip()
    if not text:
        return default
    if not _INTEGER.fullmatch(text):
        errors[name] = ["must be an integer"]
        return default
    return int(text)


class LeadpushPagination(BasePagination):
    """Page by `page`, from 1, and `per_page`, which is cut to what is allowed.

    Pages whatever can be sliced and has `count()`.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Return the rows of the page. Raises a 422."""
        self.number, self.size = parse_page(request.query_params)
        offset = (self.number - 1) * self.size
        rows = list(queryset[offset : offset + self.size + 1])
        self.has_next = len(rows) > self.size
        if not self.has_next and (rows or self.number == 1):
            self.total = offset + len(rows)  # the last page is where the list ends
        else:
            # A big total is an estimate: it must not contradict what is known for certain.
            self.total = max(self.count(queryset), offset + len(rows) if rows else 0)
        return rows[: self.size]

    def count(self, queryset: Any) -> int:
        """Return how many rows there are."""
        return int(queryset.count())

    def get_paginated_response(self, data: Any) -> Response:
        """Return a page."""
        meta = {
            "current_page": self.number,
            "per_page": self.size,
            "total": self.total,
            "last_page": max(math.ceil(self.total / self.size), 1),
            "has_next": self.has_next,
        }
        return Response({"data": data, "meta": meta})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe a page; the older generation's list of fields has no `meta`."""
        members = {name: {"type": "integer"} for name in _META} | {"has_next": {"type": "boolean"}}
        meta = {"type": "object", "properties": members, "required": list(members)}
        return {"type": "object", "properties": {"data": schema, "meta": meta}, "required": ["data"]}

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Describe the parameters."""
        descriptions = {
            "page": "From 1",
            "per_page": f"{DEFAULT_SIZE} by default, at most {MAX_SIZE}",
        }
        return [
            {"name": name, "in": "query", "description": text, "schema": {"type": "integer"}}
            for name, text in descriptions.items()
        ]


class EstimatedPagination(LeadpushPagination):
    """Pages of what there may be very many of, whose total is an estimate above 10,000."""

    def count(self, queryset: Any) -> int:
        """Return how many rows there are."""
        return total_of(queryset)
