"""Run one SQL statement: for its rows, or for what it changes."""

from typing import Any

from django.db import connection

from config.db.sql import Sql, Statement


def execute(sql: str | Sql | Statement, parameters: Any = None) -> int:
    """Return how many rows it changed, or has. `parameters`: of fragments, what is bound by name."""
    with connection.cursor() as cursor:
        cursor.execute(*_rendered(sql, parameters))
        return int(cursor.rowcount)


def fetch_all(sql: str | Sql | Statement, parameters: Any = None) -> list[Any]:
    """Return all rows, each a tuple."""
    with connection.cursor() as cursor:
        cursor.execute(*_rendered(sql, parameters))
        rows: list[Any] = cursor.fetchall()
        return rows


def fetch_one(sql: str | Sql | Statement, parameters: Any = None) -> Any:
    """Return the first row as a tuple, None where there is none."""
    with connection.cursor() as cursor:
        cursor.execute(*_rendered(sql, parameters))
        return cursor.fetchone()


def _rendered(sql: str | Sql | Statement, parameters: Any) -> tuple[str, Any]:
    if isinstance(sql, str):
        return sql, parameters
    statement = sql.render() if isinstance(sql, Sql) else sql
    return statement.text, statement.parameters(parameters or {})
