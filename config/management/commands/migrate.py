"""Django's `migrate`, which refuses a database of another layout."""

from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from config.runtime.layouts import layout_problem


class Command(migrate.Command):
    """`migrate`: as Django's own."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Check the applied migrations, then migrate. Raises CommandError."""
        applied = MigrationRecorder(connections[options["database"]]).applied_migrations()
        if problem := layout_problem(applied):
            raise CommandError(problem)
        super().handle(*args, **options)
