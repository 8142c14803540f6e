"""Rule batches: rules of the same SQL text in one statement; parameters in which they differ become
columns of `b`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from config.db.arrays import array
from events.rules.compiler import AggregateSpec, CompiledRules, Earliest
from events.rules.conditions import Sql

_CAST = re.compile(r"::(\w+(?:\[\])?)")


@dataclass(frozen=True, slots=True)
class RuleBatch:
    """Several `CompiledRules` of the same text as one.

    `columns` are what `b` needs besides, as a select list that reads the rules' place, from 1, from `w.g`.
    """

    joins: Sql
    columns: Sql


def batch_rules(workspace_id: UUID, compiled: Sequence[CompiledRules]) -> RuleBatch:
    """Batch rules of the same text. Parameters that all have in common stay parameters, to be bound."""
    pieces = compiled[0].joins.text.split("%s")
    text, parameters = [pieces[0]], []
    columns: dict[tuple[str, tuple[str | None, ...]], str] = {}
    for place, rest in enumerate(pieces[1:]):
        values = [each.joins.parameters[place] for each in compiled]
        if (common := _common_value(values)) is not None:
            text.append("%s")
            parameters.append(common)
        else:
            cast = _CAST.match(rest)
            spelled = tuple(_spelled(workspace_id, value) for value in values)
            name = columns.setdefault((cast[1] if cast else "text", spelled), f"p{len(columns)}")
            text.append(f"b.{name}")
        text.append(rest)
    return RuleBatch(
        joins=Sql("".join(text), tuple(parameters)),
        columns=Sql(
            "".join(f", ((%s::text[])[w.g])::{cast} AS {name}" for (cast, _), name in columns.items()),
            tuple(array(spelled) for _, spelled in columns),
        ),
    )


def _common_value(values: Sequence[Any]) -> Any:
    """Return the parameter that all rules have in common, None if they differ."""
    if isinstance(values[0], Earliest):
        return _widest_window(values)
    # By how they are written: Python would take true for 1.
    return values[0] if len({repr(value) for value in values}) == 1 else None


def _widest_window(values: Sequence[Earliest]) -> Earliest:
    """Return the earliest start of the rules' windows; each rule itself filters by its own."""
    lengths = [value.length for value in values if value.length is not None]
    starts = [value.start for value in values if value.start is not None]
    if len(lengths) == len(values):
        return Earliest(max(lengths))
    return Earliest(None, min(starts)) if len(starts) == len(values) else Earliest(None)


def _spelled(workspace_id: UUID, value: Any) -> str | None:
    """Return a parameter as PostgreSQL text."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return array([_spelled(workspace_id, element) for element in value])
    if isinstance(value, AggregateSpec):
        return str(value.id_in(workspace_id))
    if isinstance(value, timedelta):
        return f"{value.days} days {value.seconds}.{value.microseconds:06} seconds"
    return value.isoformat() if isinstance(value, datetime) else str(value)
