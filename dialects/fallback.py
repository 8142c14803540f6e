"""Answers below a vendor's prefix where its API has no route."""

from typing import Any

from rest_framework.exceptions import NotFound
from rest_framework.request import Request

from workspaces.api.base import ErrorTableMixin


class UnknownRouteView(ErrorTableMixin):
    """Answers 404 to any method; a vendor subclasses it with its `error_table`."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Refuse before a method is looked for."""
        raise NotFound
