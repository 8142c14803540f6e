"""Run one SQL statement: for its rows, or for what it changes."""

from typing import Any

from django.db import connection


def execute(sql: str, parameters: Any = None) -> int:
    """Return how many rows it changed, or has."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return int(cursor.rowcount)


def fetch_all(sql: str, parameters: Any = None) -> list[Any]:
    """Return all rows, each a tuple."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        rows: list[Any] = cursor.fetchall()
        return rows


def fetch_one(sql: str, parameters: Any = None) -> Any:
    """Return the first row as a tuple, None where there is none."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()
