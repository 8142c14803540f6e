"""Choose between custom and generic plans, and other planner settings, for a block of statements."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection

from config.db.statements import execute


@contextmanager
def force_custom_plan() -> Iterator[None]:
    """Plan the statements of the block (or decorated function) for their values: a custom plan.

    A prepared statement may get a generic plan, good where all values cost alike. But ten events of a contact
    are best sorted, a million best read in order until the page is full.
    """
    connection.ensure_connection()
    driver = connection.connection
    if driver.keeps_plans:
        yield
        return
    threshold = driver.prepare_threshold
    driver.prepare_threshold = None
    try:
        yield
    finally:
        driver.prepare_threshold = threshold


_PREPARED = 300
"""Statements that a connection keeps prepared."""


@contextmanager
def force_generic_plan() -> Iterator[None]:
    """Plan the statements of the block once for all values, a generic plan; in a transaction.

    For chains of look-ups by key: all values cost alike, and planning takes longer than running.
    """
    keep_more_prepared()
    if connection.connection.keeps_plans:
        yield
        return
    execute("SET LOCAL plan_cache_mode = force_generic_plan")
    yield
    execute("SET LOCAL plan_cache_mode = auto")


@contextmanager
def kept_plans() -> Iterator[None]:
    """Plan each statement of the block once, also those that ask for a custom plan; outside any transaction.

    For many small statements on tables without statistics: indexes are used wherever there are some.
    """
    keep_more_prepared()
    driver = connection.connection
    execute("SET plan_cache_mode = force_generic_plan")
    execute("SET enable_seqscan = off")
    driver.keeps_plans = True
    try:
        yield
    finally:
        driver.keeps_plans = False
        if not driver.closed:
            execute("RESET plan_cache_mode")
            execute("RESET enable_seqscan")


@contextmanager
def hashed_lists() -> Iterator[None]:
    """Hash the list of `NOT IN (SELECT …)` in the block, whatever its estimated size; in a transaction.

    Otherwise a list of unknown size, or beyond `work_mem`, is read once for each row.
    """
    execute("SET LOCAL hash_mem_multiplier = 1000")
    yield
    execute("SET LOCAL hash_mem_multiplier TO DEFAULT")


def keep_more_prepared() -> None:
    """Let the connection keep as many prepared statements as such chains need."""
    connection.ensure_connection()
    driver = connection.connection
    driver.prepared_max = max(driver.prepared_max or 0, _PREPARED)
