"""Long lists of values are bound as one array: a statement has room for 65,535 parameters."""

from typing import Any, Final

from django.db.models import Field, ForeignObject
from django.db.models.fields.related_lookups import RelatedIn
from django.db.models.lookups import In

MOST_PARAMETERS: Final = 100
"""Shorter lists are written out, so that the planner sees how many values there are."""


class _BoundAsArray:
    """Makes `x IN (1, 2, …)` of a long list `x = ANY(array)`."""

    def process_rhs(self, compiler: Any, connection: Any) -> tuple[str, Any]:
        sql, parameters = super().process_rhs(compiler, connection)  # type: ignore[misc]  # a mixin of lookups
        if len(parameters) > MOST_PARAMETERS and self.rhs_is_direct_value():  # type: ignore[attr-defined]  # as above
            return "ANY(%s)", [list(parameters)]
        return sql, parameters

    def get_rhs_op(self, connection: Any, rhs: str) -> str:
        return f"= {rhs}" if rhs == "ANY(%s)" else super().get_rhs_op(connection, rhs)  # type: ignore[misc]  # as above


class ArrayIn(_BoundAsArray, In):
    """`__in` of a field."""


class RelatedArrayIn(_BoundAsArray, RelatedIn):
    """`__in` of what a field points to."""


def register() -> None:
    """Have every `__in` of every model bind its values so."""
    Field.register_lookup(ArrayIn)
    ForeignObject.register_lookup(RelatedArrayIn)
