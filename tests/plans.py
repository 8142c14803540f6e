"""What statements read: so that a test sees a scan that a small table is too quick to show."""

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
