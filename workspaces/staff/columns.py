"""Columns of the admin's lists."""

from datetime import datetime
from typing import Any

from django.contrib import admin


def utc(moment: datetime | None) -> str:
    """Return a moment in UTC as the admin's lists show it, to the second."""
    return f"{moment:%Y-%m-%d %H:%M:%S}" if moment else ""


def utc_column(field: str, description: str, ordering: str | None = None) -> Any:
    """Return a column, a method of an admin class, that shows a moment of a row."""

    @admin.display(description=description, ordering=ordering)
    def column(self: Any, row: Any) -> str:
        return utc(getattr(row, field))

    return column
