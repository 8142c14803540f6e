"""Groups of conditions, AND, OR and NOT: whether one holds, and when that can change."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from config.db.sql import Sql, join, sql
from events.rules.compiler.columns import Columns
from events.rules.nodes import Group, Node


@dataclass(frozen=True, slots=True)
class LeafColumns:
    """The columns of a leaf's answer: what was compared (jsonb) and, for explanations, its events (jsonb)."""

    matches: Sql
    next_at: Sql
    value: Sql
    events: Sql


class Groups:
    """The inner nodes, one lateral a level, so that no expression is written twice."""

    def __init__(self) -> None:
        self.levels: list[Columns] = []
        self.names: dict[int, tuple[Sql, Sql]] = {}

    def add(self, group: Group, leaves: Iterator[LeafColumns]) -> tuple[Sql, Sql]:
        """Return the columns of the group's answer and of the next moment at which it can change."""
        matches, next_at, _ = self._add(group, leaves)
        return matches, next_at

    def joins(self) -> list[Sql]:
        """Return the laterals, the lowest level first."""
        return [lateral for level in self.levels for lateral in level.joins()]

    def _add(self, node: Node, leaves: Iterator[LeafColumns]) -> tuple[Sql, Sql, int]:
        if not isinstance(node, Group):
            columns = next(leaves)
            return columns.matches, columns.next_at, 0
        children = [self._add(child, leaves) for child in node.children]
        depth = max((below for _, _, below in children), default=0)
        if depth == len(self.levels):
            self.levels.append(Columns(f"level{depth}_"))
        matches, next_at = _combine(node.operator, [(m, n) for m, n, _ in children])
        names = (self.levels[depth].add(matches), self.levels[depth].add(next_at))
        self.names[id(node)] = names
        return (*names, depth + 1)


def _combine(operator: str, children: Sequence[tuple[Sql, Sql]]) -> tuple[Sql, Sql]:
    """Return the answer, and a moment before which it cannot change.

    An AND that holds may fall with its first child; one that does not can rise only when all the false ones
    have changed. OR is its mirror image, NOT is "none of them".
    """
    if not children:
        return sql("true"), sql("NULL::timestamptz")
    is_and = operator == "AND"
    holds = join(" AND " if is_and else " OR ", [matches for matches, _ in children])
    # AND waits for its false children when false; OR and NOT wait for their true ones when any is true.
    blocks = "NOT " if is_and else ""
    last = [
        sql(f"CASE WHEN {blocks}{{}} THEN COALESCE({{}}, 'infinity') END", matches, next_at)
        for matches, next_at in children
    ]
    next_at = sql(
        f"NULLIF(CASE WHEN {blocks}({{}}) THEN GREATEST({{}}) ELSE LEAST({{}}) END, 'infinity')",
        holds,
        join(", ", last),
        join(", ", [next_at for _, next_at in children]),
    )
    return sql("NOT ({})" if operator == "NOT" else "({})", holds), next_at
