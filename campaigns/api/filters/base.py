"""Filters by id, by contact and by a choice that rows have in lower case."""

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet

from config.ids import parse_uuid
from contacts.identity.lookup import ids_of


class UpperChoiceFilter(django_filters.ChoiceFilter):  # type: ignore[misc]  # it has no types
    """Filter by a choice that the API spells in capitals and rows have in lower case."""

    def filter(self, rows: QuerySet[Any], value: str | None) -> QuerySet[Any]:
        """Return the rows with the choice."""
        return super().filter(rows, value and value.lower())  # type: ignore[no-any-return]  # untyped


class IdFilter(django_filters.CharFilter):  # type: ignore[misc]  # it has no types
    """Filter by an id; what is no id finds nothing."""

    def filter(self, rows: QuerySet[Any], value: str | None) -> QuerySet[Any]:
        """Return the rows with the id."""
        if not value:
            return rows
        identifier = parse_uuid(value)
        return rows.none() if identifier is None else self.narrowed(rows, identifier)

    def narrowed(self, rows: QuerySet[Any], identifier: UUID) -> QuerySet[Any]:
        """Return the rows that have the id."""
        return rows.filter(**{self.field_name: identifier})


class PersonFilter(IdFilter):
    """Filter by a contact, and by those merged into it."""

    def narrowed(self, rows: QuerySet[Any], identifier: UUID) -> QuerySet[Any]:
        """Return the rows of the contact and of those merged into it."""
        workspace_id: UUID = self.parent.request.parser_context["view"].workspace.id
        return rows.filter(contact_id__in=ids_of(workspace_id, identifier))
