"""Evaluate rules of one shape in one statement: the values in which they differ become columns of `b`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from config.db.arrays import array
from config.db.sql import Deferred, Parameter, Sql, join, sql
from events.rules.compiler import CompiledRules, Earliest


@dataclass(frozen=True, slots=True)
class RuleBatch:
    """Several `CompiledRules` of one shape as one.

    `columns` are what `b` needs besides, as a select list that reads the rules' place, from 1, from `w.g`.
    """

    joins: Sql
    columns: Sql


def batch_rules(workspace_id: UUID, compiled: Sequence[CompiledRules]) -> RuleBatch:
    """Batch rules of one shape. Parameters that all have in common stay parameters."""
    names: dict[Parameter, str] = {}

    def batched(parts: tuple[Any, ...]) -> Sql:
        """Return a text, which is the same in all rules, or what stands for a parameter of each."""
        if isinstance(parts[0], str):
            return Sql(parts[:1])
        if (common := _common(parts)) is not None:
            return Sql((common,))
        values = tuple(_spelled(workspace_id, parameter.value) for parameter in parts)
        return sql(f"b.{names.setdefault(Parameter(parts[0].type, values), f'p{len(names)}')}")

    joins = join("", map(batched, zip(*(each.joins.parts for each in compiled), strict=True)))
    columns = [
        sql(f", (({{:text[]}})[w.g])::{column.type} AS {name}", array(column.value))
        for column, name in names.items()
    ]
    return RuleBatch(joins, join("", columns))


def _common(parameters: Sequence[Parameter]) -> Parameter | None:
    """Return the parameter that serves all rules, None if they differ."""
    first = parameters[0]
    if isinstance(first.value, Earliest):
        return Parameter(first.type, _widest_window([parameter.value for parameter in parameters]))
    return first if all(parameter == first for parameter in parameters) else None


def _widest_window(values: Sequence[Earliest]) -> Earliest:
    """Return the earliest start of the rules' windows; each rule itself filters by its own."""
    lengths = [value.length for value in values if value.length is not None]
    starts = [value.start for value in values if value.start is not None]
    if len(lengths) == len(values):
        return Earliest(max(lengths))
    return Earliest(start=min(starts)) if len(starts) == len(values) else Earliest()


def _spelled(workspace_id: UUID, value: Any) -> str | None:
    """Return a parameter as PostgreSQL text."""
    if value is None:
        return None
    if isinstance(value, tuple):
        return array(_spelled(workspace_id, item) for item in value)
    if isinstance(value, Deferred):
        return str(value.resolve({"workspace_id": workspace_id}))
    if isinstance(value, timedelta):
        return f"{value.days} days {value.seconds}.{value.microseconds:06} seconds"
    return value.isoformat() if isinstance(value, datetime) else str(value)
