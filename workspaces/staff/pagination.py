"""Pages of admin lists, on tables too large to count."""

from __future__ import annotations

from typing import Any

from django.core.paginator import Paginator
from django.db import models
from django.utils.functional import cached_property

from config.db.plans import force_custom_plan

COUNT_LIMIT = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # not generic when it runs
    """Count up to `COUNT_LIMIT` rows only: a full count reads the table."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        with force_custom_plan():
            return (
                rows.order_by().values("pk")[:COUNT_LIMIT].count()
                if isinstance(rows, models.QuerySet)
                else len(rows)
            )

    def page(self, number: int | str) -> Any:
        """Select the page's keys first, so that joins are not computed for skipped rows."""
        rows: Any = self.object_list
        if not isinstance(rows, models.QuerySet):
            return super().page(number)
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        with force_custom_plan():
            keys = list(rows.values_list("pk", flat=True)[start : start + self.per_page])
        return self._get_page(rows.filter(pk__in=keys)[: self.per_page], number, self)  # type: ignore[attr-defined]
