"""Dump the database to a file."""

import subprocess
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from config.runtime.postgres.dumps import dump


class Command(BaseCommand):
    """`dump_database`: a consistent snapshot, while Headrace runs."""

    help = "Write all of the database to a file, which restore_database and pg_restore read."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, metavar="FILE", help="Replaced once all is written.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Dump. Raises CommandError with what pg_dump says."""
        try:
            dump(connection.get_connection_params(), options["file"])
        except subprocess.CalledProcessError as error:
            raise CommandError(error.stderr) from error
        self.stdout.write(f"{options['file']}: {options['file'].stat().st_size:,} bytes")
