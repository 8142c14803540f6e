"""Sections that upper apps add to a page of the admin, for those who may see their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.db import models
from django.http import HttpRequest
from django.utils.module_loading import import_string
from django.utils.safestring import SafeString

from workspaces.staff.permissions import admin_of

_SectionT = TypeVar("_SectionT", bound=Callable[..., Any])


def shows(*models_shown: type[models.Model]) -> Callable[[_SectionT], _SectionT]:
    """Declare the models that a section shows: users who may not view them do not get the section."""

    def mark(section: _SectionT) -> _SectionT:
        section.shows = models_shown  # type: ignore[attr-defined]  # read by `sections_for`
        return section

    return mark


def sections_for(request: HttpRequest, paths: Iterable[str], row: Any) -> list[SafeString | str]:
    """Return the sections at `paths` for a row, in their order, that the user may see."""
    found = (import_string(path) for path in paths)
    return [
        section(row)
        for section in found
        if all(admin_of(model).may(request, "view", row) for model in section.shows)
    ]
