"""Filters by id, by person and by a choice that rows spell in lower case."""

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet

from config.ids import parse_uuid
from contacts.identity.lookup import ids_of


class UpperChoiceFilter(django_filters.ChoiceFilter):  # type: ignore[misc]  # it has no types
    """A choice that the wire spells in capitals, and the rows do not."""

    def filter(self, rows: QuerySet[Any], value: str | None) -> QuerySet[Any]:
        """Leave the rows with the choice."""
        return super().filter(rows, value and value.lower())  # type: ignore[no-any-return]  # untyped


class IdFilter(django_filters.CharFilter):  # type: ignore[misc]  # it has no types
    """The rows of an id; none for what is no id."""

    def filter(self, rows: QuerySet[Any], value: str | None) -> QuerySet[Any]:
        """Leave the rows of the id."""
        if not value:
            return rows
        identifier = parse_uuid(value)
        return rows.none() if identifier is None else self.narrowed(rows, identifier)

    def narrowed(self, rows: QuerySet[Any], identifier: UUID) -> QuerySet[Any]:
        """Return the rows that have the id."""
        return rows.filter(**{self.field_name: identifier})


class PersonFilter(IdFilter):
    """The rows of a person: of the contact by any of its ids."""

    def narrowed(self, rows: QuerySet[Any], identifier: UUID) -> QuerySet[Any]:
        """Return the rows of the contact and of those merged into it."""
        workspace_id: UUID = self.parent.request.parser_context["view"].workspace.id
        return rows.filter(contact_id__in=ids_of(workspace_id, identifier))
