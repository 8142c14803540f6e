"""Insert and update rows of a model together: few statements, each with a bounded number of parameters."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from django.db.models import Model, QuerySet

_Row = TypeVar("_Row", bound=Model)
_MOST_PARAMETERS: Final = 2_000


def insert_rows(rows: Sequence[_Row], **conflicts: Any) -> None:
    """Insert rows. `conflicts`: what `bulk_create` is to do with those that are there."""
    if rows:
        columns = len(rows[0]._meta.concrete_fields)
        manager = type(rows[0])._default_manager
        manager.bulk_create(rows, batch_size=max(1, _MOST_PARAMETERS // columns), **conflicts)


def update_rows(standing: QuerySet[_Row], rows: Sequence[_Row], fields: Sequence[str]) -> None:
    """Write fields of rows that are among the standing ones."""
    if len(rows) == 1:
        rows[0].save(update_fields=fields)
    elif rows:
        # A value has two parameters, itself and the id that it is for; a row has one more.
        standing.bulk_update(rows, fields, batch_size=max(1, _MOST_PARAMETERS // (2 * len(fields) + 1)))
