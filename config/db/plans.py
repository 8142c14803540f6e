"""How PostgreSQL plans a statement."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection


@contextmanager
def force_custom_plan() -> Iterator[None]:
    """Let the statements of the block, or of the function that this decorates, be planned for their values.

    A statement that was prepared may be planned once for all values: good where they cost alike, but the usual
    contact's ten events are best sorted, a contact with a million best read in order until the page is full.
    """
    connection.ensure_connection()
    driver = connection.connection
    threshold = driver.prepare_threshold
    driver.prepare_threshold = None
    try:
        yield
    finally:
        driver.prepare_threshold = threshold


_PREPARED = 300
"""Statements that a connection keeps ready."""


@contextmanager
def force_generic_plan() -> Iterator[None]:
    """Have the statements of the block planned once for all values, in a transaction.

    For chains of look-ups by key: they cost alike whatever the values, and to plan one takes longer than to run it.
    """
    keep_more_prepared()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = auto")


@contextmanager
def hashed_lists() -> Iterator[None]:
    """Have `NOT IN (SELECT …)` in the block look each value up by a hash, however long the list is thought to be.

    In a transaction. Else a list of which the planner knows nothing, or of more than `work_mem` has room for, is read
    once for each row.
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL hash_mem_multiplier = 1000")
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL hash_mem_multiplier TO DEFAULT")


def keep_more_prepared() -> None:
    """Have the connection keep as many statements ready as such chains need."""
    connection.ensure_connection()
    driver = connection.connection
    driver.prepared_max = max(driver.prepared_max or 0, _PREPARED)
