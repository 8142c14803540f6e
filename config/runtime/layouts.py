"""Refuse a database whose tables were made by migrations that this version does not have.

A newer version's database is none of these: it has all of this one's migrations, and more. But where some of them are
missing while there are others, the tables are not what the missing ones expect, and nothing may be applied to them.
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


def layout_trouble(applied: Iterable[Migration]) -> str:
    """Return in one line what is wrong with a database that has these migrations, and what to do; mostly nothing."""
    ours = {config.label for config in apps.get_app_configs() if Path(config.path).parent == BASE_DIR}
    on_disk = {one for one in migrations_on_disk() if one[0] in ours}
    found = {one for one in applied if one[0] in ours}
    unknown = sorted(found - on_disk)
    if not unknown or on_disk <= found:
        return ""
    app, name = unknown[0]
    others = f" and {len(unknown) - 1} more" if unknown[1:] else ""
    return (
        f"The database is {SHORT}: it has migrations that this version does not know ({app}.{name}{others})."
        " Nothing was changed. Dump it with the version that made it, if it is to be kept, and start with an empty"
        " one: another DATABASE_URL or HEADRACE_HOME."
    )


def applied_migrations(connection: psycopg.Connection[Any]) -> set[Migration]:
    """Return those that a database has; none where it is empty."""
    if connection.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,):
        return set()
    return set(connection.execute("SELECT app, name FROM django_migrations").fetchall())


def require_layout() -> None:
    """End this process with a line where the database is of another layout. One that does not answer may be later."""
    try:
        with broker.connect() as connection:
            applied = applied_migrations(connection)
    except (psycopg.Error, DatabaseError, ServerUnavailableError):
        return
    if trouble := layout_trouble(applied):
        sys.exit(trouble)
