"""Named columns, spread over as many selects as needed."""

from __future__ import annotations

from config.db.sql import Sql, join, sql

# A select may have 1,664; a condition adds a few at once.
MOST_COLUMNS = 1_000


class Columns:
    """Column expressions under names. OFFSET 0 keeps the planner from computing one as often as it is read."""

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.expressions: list[Sql] = []

    def add(self, expression: Sql) -> Sql:
        """Return the name of the expression's column."""
        place = len(self.expressions)
        self.expressions.append(expression)
        return sql(f"{self.alias}{place // MOST_COLUMNS}.c{place}")

    def joins(self, source: Sql | None = None) -> list[Sql]:
        """Return the laterals that compute the columns from `source`, a FROM clause, and what stands before."""
        named = [sql(f"{{}} AS c{place}", expression) for place, expression in enumerate(self.expressions)]
        return [
            sql(
                f"CROSS JOIN LATERAL (SELECT {{}} {{}} OFFSET 0) {self.alias}{start // MOST_COLUMNS}",
                join(", ", named[start : start + MOST_COLUMNS]),
                source or Sql(),
            )
            for start in range(0, len(named), MOST_COLUMNS)
        ]
