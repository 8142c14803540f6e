"""What statements read: so that a test sees a scan that a small table is too quick to show."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext


def rows_read(call: Callable[[], Any]) -> dict[str, int]:
    """Return each SELECT of a call with the number of rows that it took from tables and indexes."""
    with CaptureQueriesContext(connection) as captured:
        call()
    statements = [query["sql"] for query in captured if query["sql"].startswith("SELECT")]
    return {sql: _rows_read(sql) for sql in statements}


def entries_read(call: Callable[[], Any]) -> dict[str, Counter[str]]:
    """Return what each statement of a call read, in the test's transaction, of whole tables and of indexes."""
    read: dict[str, Counter[str]] = {}

    def measure(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        before = _entries()
        try:
            return execute(sql, *rest)
        finally:
            read[sql] = read.get(sql, Counter()) + (_entries() - before)

    with connection.execute_wrapper(measure):
        call()
    return read


def work_of(call: Callable[[], Any]) -> int:
    """Return how many rows the statements of a call took from tables, indexes and their own lists, loops counted."""
    total = 0

    def measure(execute: Callable[..., Any], sql: str, parameters: Any, *rest: Any) -> Any:
        nonlocal total
        if sql.lstrip().startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            raw = connection.connection
            with raw.cursor() as cursor:
                cursor.execute("SAVEPOINT explained")
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
                total += sum(_of_scans(cursor.fetchone()[0][0]["Plan"]))
                cursor.execute("ROLLBACK TO SAVEPOINT explained")
        return execute(sql, parameters, *rest)

    with connection.execute_wrapper(measure):
        call()
    return total


def _entries() -> Counter[str]:
    connection.ensure_connection()
    rows = connection.connection.execute(
        "SELECT relname, pg_stat_get_xact_tuples_returned(oid) FROM pg_class"
        " WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace"
    )
    return Counter(dict(rows.fetchall()))


def _rows_read(sql: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}")
        return sum(_of_scans(cursor.fetchone()[0][0]["Plan"]))


def _of_scans(node: dict[str, Any]) -> Iterator[int]:
    if not node.get("Plans"):
        read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        yield round((read + node.get("Rows Removed by Index Recheck", 0)) * node["Actual Loops"])
    for child in node.get("Plans", ()):
        yield from _of_scans(child)
