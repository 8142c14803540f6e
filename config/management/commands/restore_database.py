"""Restore an empty database from a file."""

import subprocess
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from config.db.statements import fetch_one
from config.runtime.postgres.dumps import restore


class Command(BaseCommand):
    """`restore_database`: refuses a database that is not empty."""

    help = "Fill the database, which must be empty, from a file of dump_database. Start nothing before."
    requires_system_checks: list[str] = []  # they look at tables

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        """Restore. Raises CommandError: the database is not empty, or with what pg_restore says."""
        (found,) = fetch_one("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        if found:
            raise CommandError("The database is not empty: restore into a new one.")
        try:
            restore(connection.get_connection_params(), options["file"])
        except subprocess.CalledProcessError as error:
            raise CommandError(error.stderr) from error
        self.stdout.write("Restored. Before anything else runs: see docs/backup.md.")
