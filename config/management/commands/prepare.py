"""Prepare what `run` needs: HEADRACE_HOME, the database's schema, the broker's queue, a demo workspace."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.utils.module_loading import import_string

from config.home import home_problem, require_home
from config.observability.logs import redacted_message
from config.runtime import broker
from config.runtime.postgres.schema import SCHEMA, Migration, load_schema, migrations_on_disk

LOCK: LiteralString = "SELECT pg_advisory_xact_lock(1886545264)"  # any number that nothing else uses


class Command(BaseCommand):
    """`prepare`: safe to repeat; prints one line of JSON, the demo workspace's credentials included."""

    help = "Migrate, set the broker's queue up, and make a demo workspace where there is no workspace."
    requires_system_checks: list[str] = []  # they run in `check`

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare everything. Raises CommandError with what HEADRACE_HOME or the database lacks."""
        try:
            require_home()
        except OSError as error:
            raise CommandError(home_problem(error)) from error
        try:
            with _exclusive_lock():
                self._prepare()
        except (OperationalError, psycopg.OperationalError) as error:
            problem = " ".join(redacted_message(error).split())
            raise CommandError(f"The database cannot be prepared: {problem}") from error

    def _prepare(self) -> None:
        is_embedded = settings.DATABASES["default"]["ENGINE"] == "config.runtime.postgres.backend"
        is_new = is_embedded and load_initial_schema()
        # `migrate` takes a while even to find that there is nothing to apply.
        if is_new or unapplied_migrations():
            call_command("migrate", interactive=False, verbosity=0)
        if broker.is_in_database():
            with psycopg.connect(broker.django_conninfo(), autocommit=True) as own_connection:
                broker.set_up_queue(own_connection)
        demo = import_string(settings.DEMO_WORKSPACE)(settings.HEADRACE_HOME / "demo.json")
        report = {"demo": demo, "deliveryGraceSeconds": settings.DELIVERY_GRACE_SECONDS}
        self.stdout.write(json.dumps({"prepared": report}))


@contextmanager
def _exclusive_lock() -> Iterator[None]:
    """Let one process at a time prepare the database; a second one waits, and finds the work done."""
    with psycopg.connect(broker.django_conninfo()) as own_connection:
        # No parameters: they would leave a snapshot open, for which CREATE INDEX CONCURRENTLY would wait.
        own_connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        own_connection.execute(LOCK)
        yield


def load_initial_schema() -> bool:
    """Load schema.sql where the database is empty, and tell whether it was; `migrate` adds what is newer."""
    with transaction.atomic():
        connection.ensure_connection()
        is_new = load_schema(connection.connection, SCHEMA.read_text())
        if is_new:
            for path in settings.NEW_DATABASE:
                import_string(path)()
    return is_new


def unapplied_migrations() -> set[Migration]:
    """Return the migrations on the disk that the database has not applied."""
    return migrations_on_disk().keys() - MigrationRecorder(connection).applied_migrations().keys()
