"""schema.sql: all migrations as one script, from which a new embedded database is created.

Applying migrations takes Django minutes on a busy machine, the script a second. It lists its migrations:
newer ones are applied after it, and if one of them was edited the script is not used. `manage.py dump_schema`
writes it, and a test compares both ways.
"""

import functools
import hashlib
import importlib
import pkgutil
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import psycopg
from django.apps import apps
from django.db.migrations.loader import MigrationLoader

from config.runtime.postgres.dumps import VARIABLES, run_program

SCHEMA = Path(__file__).with_name("schema.sql")
# Partitions depend on the date; the broker creates its own tables.
_NOT_DUMPED = (
    "--exclude-schema=pgmq",
    "--exclude-table=events_event_y*",
    "--exclude-table=events_event_before_*",
)
_NOT_A_STATEMENT = re.compile(
    r"^(--.*|\\.*|SET .*|SELECT pg_catalog\.set_config.*|CREATE SCHEMA public;|)\n", re.MULTILINE
)
_APPLIED = "SELECT app, name FROM django_migrations ORDER BY app, name"
_IN_SCRIPT = re.compile(r"^    \('(\w+)', '(\w+)', now\(\)\)", re.MULTILINE)
_DIGEST = "-- Of the migrations: "

Migration = tuple[str, str]
"""App and name."""


@functools.cache
def migrations_on_disk() -> dict[Migration, Path]:
    """Return the files of all migrations, without loading them."""
    found = {}
    for label in (config.label for config in apps.get_app_configs()):
        module, _ = MigrationLoader.migrations_module(label)
        try:
            package = importlib.import_module(module or "")
        except (ModuleNotFoundError, ValueError):
            continue  # an app without models
        for finder, name, is_package in pkgutil.iter_modules(package.__path__):
            if not is_package and name[0] not in "_~":
                found[label, name] = Path(getattr(finder, "path", ""), f"{name}.py")
    return found


def dump_schema(parameters: dict[str, Any]) -> str:
    """Return the script of a migrated database: its definitions and its migrations."""
    options = ("--schema-only", "--no-owner", "--no-privileges", "--no-comments", *_NOT_DUMPED)
    script = run_program("pg_dump", parameters, *options)
    usable = {name: parameters[name] for name in VARIABLES if name in parameters}
    with psycopg.connect(**usable) as connection:
        rows = connection.execute(_APPLIED).fetchall()
    values = ",\n".join(f"    ('{app}', '{name}', now())" for app, name in rows)
    migrations = f"INSERT INTO public.django_migrations (app, name, applied) VALUES\n{values};\n"
    return f"{_DIGEST}{_digest(rows)}\n{_NOT_A_STATEMENT.sub('', script)}{migrations}"


def load_schema(connection: psycopg.Connection[Any], script: str) -> bool:
    """Run the script if the database is empty and the script current; return whether it ran."""
    if not script.startswith(f"{_DIGEST}{_digest(_IN_SCRIPT.findall(script))}\n"):
        return False
    with connection.transaction():
        found = connection.execute("SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace LIMIT 1")
        if found.fetchone() is not None:
            return False
        connection.execute("SET LOCAL check_function_bodies = off")
        connection.execute(script.encode())
    return True


def _digest(migrations: Iterable[Migration]) -> str:
    """Return a hash of the migrations' names and files."""
    digest = hashlib.sha256()
    on_disk = migrations_on_disk()
    for migration in sorted(migrations):
        path = on_disk.get(migration)
        digest.update(repr(migration).encode() + (path.read_bytes() if path is not None else b"gone"))
    return digest.hexdigest()
