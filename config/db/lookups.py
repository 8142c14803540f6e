"""Bind long `__in` lists as one array: a statement has room for 65,535 parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.db.models import F, Field, ForeignObject, Lookup
from django.db.models.fields.related_lookups import RelatedIn
from django.db.models.lookups import In

from config.db.arrays import array

MOST_PARAMETERS: Final = 100
"""Shorter lists stay parameters, so that the planner sees how many values there are."""


class _BindAsArray:
    """Turn `x IN (1, 2, …)` with a long list into `x = ANY(array)`."""

    def process_rhs(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        sql, parameters = super().process_rhs(compiler, connection)  # type: ignore[misc]  # a mixin of lookups
        number = len(parameters)
        # Subqueries and expressions among the values are left as they are.
        if number > MOST_PARAMETERS and sql == f"({', '.join(['%s'] * number)})":
            return "ANY(%s)", [list(parameters)]
        return sql, parameters

    def get_rhs_op(self, connection: Any, rhs: str) -> str:
        return f"= {rhs}" if rhs == "ANY(%s)" else super().get_rhs_op(connection, rhs)  # type: ignore[misc]  # as above


class AnyOfArray(_BindAsArray, In):
    """`__in` of a field."""


class RelatedAnyOfArray(_BindAsArray, RelatedIn):
    """`__in` of a relation."""


def any_of(column: str, values: Iterable[Any]) -> AnyOf:
    """Return the condition `column = ANY(values)`, whose SQL is the same for any number of values."""
    return AnyOf(F(column), list(values))


class AnyOf(Lookup):
    """`column = ANY(array)`: unlike `__in` it is prepared once for any number of values."""

    lookup_name = "any_of"
    prepare_rhs = False

    def as_sql(self, compiler: Any, connection: Any) -> tuple[str, tuple[Any, ...]]:
        """Return the SQL and its parameters."""
        text, parameters = self.process_lhs(compiler, connection)
        # Without length or precision: a cast to the column's own type would truncate the values.
        kind, *_ = self.lhs.output_field.db_type(connection).partition("(")
        return f"{text} = ANY (%s::{kind}[])", (*parameters, array(self.rhs))


def register() -> None:
    """Install these look-ups for every model."""
    Field.register_lookup(AnyOfArray)
    ForeignObject.register_lookup(RelatedAnyOfArray)
