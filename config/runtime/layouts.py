"""Refuse a database of another layout: one that has unknown migrations and lacks some of this version's.

Its tables are not what the missing migrations expect. A newer version's database has all of this version's
migrations, and more: it is accepted.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
from django.apps import apps
from django.db import DatabaseError

from config.home import BASE_DIR
from config.runtime import broker
from config.runtime.postgres.locks import ServerUnavailableError
from config.runtime.postgres.schema import Migration, migrations_on_disk

SHORT = "of another layout"


def layout_problem(applied: Iterable[Migration]) -> str:
    """Describe in one line what is wrong with a database that has these migrations; empty if nothing is."""
    ours = {config.label for config in apps.get_app_configs() if Path(config.path).parent == BASE_DIR}
    on_disk = {migration for migration in migrations_on_disk() if migration[0] in ours}
    found = {migration for migration in applied if migration[0] in ours}
    unknown = sorted(found - on_disk)
    if not unknown or on_disk <= found:
        return ""
    app, name = unknown[0]
    more = f" and {len(unknown) - 1} more" if unknown[1:] else ""
    return (
        f"The database is {SHORT}: it has migrations that this version does not know ({app}.{name}{more})."
        " Nothing was changed. Dump it with the version that made it, if it is to be kept, and start with an empty"
        " one: another DATABASE_URL or HEADRACE_HOME."
    )


def applied_migrations(connection: psycopg.Connection[Any]) -> set[Migration]:
    """Return the migrations that a database has applied; none where it is empty."""
    if connection.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,):
        return set()
    return set(connection.execute("SELECT app, name FROM django_migrations").fetchall())


def require_layout() -> None:
    """Exit with one line where the database is of another layout; a database that is away is not checked."""
    try:
        with broker.connect() as connection:
            applied = applied_migrations(connection)
    except (psycopg.Error, DatabaseError, ServerUnavailableError):
        return
    if problem := layout_problem(applied):
        sys.exit(problem)
