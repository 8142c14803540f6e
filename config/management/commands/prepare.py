"""Prepare what `run` needs: the database and its server, the broker's queue, a workspace to try things in."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection, transaction
from django.db.migrations.recorder import MigrationRecorder

from config.home import home_problem, require_home
from config.observability.logs import redacted_message
from config.runtime import broker
from config.runtime.postgres.schema import SCHEMA, Migration, load_schema, migrations_on_disk
from events.stream.partitions import make_partitions
from workspaces.models import Workspace

DEMO_USER = "demo@example.com"
LOCK: LiteralString = "SELECT pg_advisory_xact_lock(1886545264)"  # any number that nothing else uses


class Command(BaseCommand):
    """`prepare`: safe to run again; it tells what it did as one line of JSON, credentials included."""

    help = "Migrate, set the broker's queue up, and make a demo workspace where there is no workspace."
    requires_system_checks: list[str] = []  # they run in `check`

    def handle(self, *args: Any, **options: Any) -> None:
        """Prepare everything, then tell."""
        try:
            require_home()
        except OSError as error:
            raise CommandError(home_problem(error)) from error
        try:
            with _alone():
                self._prepare()
        except (OperationalError, psycopg.OperationalError) as error:
            said = " ".join(redacted_message(error).split())
            raise CommandError(f"The database cannot be prepared: {said}") from error

    def _prepare(self) -> None:
        is_embedded = settings.DATABASES["default"]["ENGINE"] == "config.runtime.postgres.backend"
        is_new = is_embedded and load_initial_schema()
        # Also where nothing is to be applied it takes a while to say so.
        if is_new or unapplied_migrations():
            call_command("migrate", interactive=False, verbosity=0)
        if broker.is_in_database():
            with psycopg.connect(broker.django_conninfo(), autocommit=True) as own:
                broker.set_up_queue(own)
        demo = find_or_create_demo(settings.HEADRACE_HOME / "demo.json")
        told = {"demo": demo, "deliveryGraceSeconds": settings.DELIVERY_GRACE_SECONDS}
        self.stdout.write(json.dumps({"prepared": told}))


@contextmanager
def _alone() -> Iterator[None]:
    """Be the only one that prepares this database: a second one waits, and finds it done."""
    with psycopg.connect(broker.django_conninfo()) as own:
        # Without parameters, so that no snapshot stays open, for which indexes that are made concurrently would wait.
        own.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        own.execute(LOCK)
        yield


def load_initial_schema() -> bool:
    """Make the schema at once where the database is empty, and tell; `migrate` adds what is newer."""
    with transaction.atomic():
        connection.ensure_connection()
        is_new = load_schema(connection.connection, SCHEMA.read_text())
        if is_new:
            make_partitions()
    return is_new


def unapplied_migrations() -> set[Migration]:
    """Return those on the disk that the database has not."""
    return migrations_on_disk().keys() - MigrationRecorder(connection).applied_migrations().keys()


def find_or_create_demo(path: Path) -> dict[str, Any] | None:
    """Return the demo workspace's credentials, creating it where no workspace is; None where others are.

    The superuser's password is among them when it is made, and kept nowhere.
    """
    if path.exists():
        known: dict[str, Any] = json.loads(path.read_text())
        if Workspace.objects.filter(id=known["workspace"]).exists():
            return known
    if Workspace.objects.exists():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)  # with a DATABASE_URL nobody else made it
    with transaction.atomic():
        output = StringIO()
        call_command(
            "create_workspace", "Demo", "--json", "--staff", f"--owner-email={DEMO_USER}", stdout=output
        )
        demo = json.loads(output.getvalue())
        kept = {**demo, "user": {"username": demo["user"]["username"]}}
        # Before the commit: a file without its workspace is replaced, a workspace without its file is lost.
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(kept))
        draft.replace(path)
    return dict(demo)
