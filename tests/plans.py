"""Count the rows that statements read, to detect scans that are fast on small tables."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext


def rows_read(call: Callable[[], Any]) -> dict[str, int]:
    """Return the number of rows that each SELECT of a call read from tables and indexes."""
    with CaptureQueriesContext(connection) as captured:
        call()
    statements = [query["sql"] for query in captured if query["sql"].startswith("SELECT")]
    return {sql: _rows_read(sql) for sql in statements}


def entries_read(call: Callable[[], Any]) -> dict[str, Counter[str]]:
    """Return the entries that each statement of a call read from tables and indexes, in the test's transaction."""
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
    """Return the total rows read by a call from tables, indexes and intermediate results, loops included."""
    return sum(of_statement.total() for of_statement in work_by_statement(call).values())


def work_by_statement(call: Callable[[], Any]) -> dict[str, Counter[str]]:
    """Return by statement the rows read from each table, index and intermediate result.

    Loops are counted. Of lists of parameters in a statement's text one stands for any number.
    """
    work: dict[str, Counter[str]] = defaultdict(Counter)

    def measure(execute: Callable[..., Any], sql: str, parameters: Any, *rest: Any) -> Any:
        if sql.lstrip().startswith(("SELECT", "WITH", "INSERT", "UPDATE", "DELETE")):
            raw = connection.connection
            with raw.cursor() as cursor:
                cursor.execute("SAVEPOINT explained")
                cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
                for source, rows in _of_scans(cursor.fetchone()[0][0]["Plan"]):
                    work[_named(sql)][source] += rows
                cursor.execute("ROLLBACK TO SAVEPOINT explained")
        return execute(sql, parameters, *rest)

    with connection.execute_wrapper(measure):
        call()
    return work


def _named(sql: str) -> str:
    """Return the statement with parameter lists of any length made equal."""
    return re.sub(r"IN \(%s\)", "= ANY(%s)", re.sub(r"%s(, ?%s)+", "%s", sql))


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
        return sum(rows for _, rows in _of_scans(cursor.fetchone()[0][0]["Plan"]))


def _of_scans(node: dict[str, Any]) -> Iterator[tuple[str, int]]:
    # Of a bitmap, the rows that are still there. What is kept in memory is read again by every loop of its
    # own.
    if node["Node Type"] in ("Bitmap Heap Scan", "Materialize") or not node.get("Plans"):
        read = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        source = (
            node.get("Index Name") or node.get("Relation Name") or node.get("CTE Name") or node.get("Alias")
        )
        rows = round((read + node.get("Rows Removed by Index Recheck", 0)) * node["Actual Loops"])
        yield f"{node['Node Type']} {source or ''}", rows
    if node["Node Type"] != "Bitmap Heap Scan":
        for child in node.get("Plans", ()):
            yield from _of_scans(child)
