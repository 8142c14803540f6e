"""Write schema.sql, from which new embedded databases are created."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

import psycopg
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.db import connection, connections
from psycopg import sql

from config.runtime.postgres.schema import SCHEMA, dump_schema
from config.runtime.postgres.server import embedded_server_at

SCRATCH = "headrace_schema"


class Command(BaseCommand):
    """`dump_schema`: to run after a new migration; uses a scratch database on the embedded server."""

    help = "Apply all migrations to an empty database and write its schema to config/runtime/postgres/schema.sql."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--output", type=Path, default=SCHEMA)

    def handle(self, *args: Any, **options: Any) -> None:
        """Create and migrate the scratch database, dump it, and drop it."""
        server = embedded_server_at(settings.HEADRACE_HOME)
        administration = server.ensure_running().connection_parameters("postgres")
        with psycopg.connect(**administration, autocommit=True) as admin:  # type: ignore[arg-type]  # mixed types
            name = sql.Identifier(SCRATCH)
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
            admin.execute(sql.SQL("CREATE DATABASE {}").format(name))
            try:
                connections.close_all()
                connection.settings_dict["NAME"] = SCRATCH
                call_command("migrate", interactive=False, verbosity=0)
                script = dump_schema(server.ensure_running().connection_parameters(SCRATCH))
            finally:
                connections.close_all()
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))
        options["output"].write_text(script)
        self.stdout.write(f"{options['output']}: {script.count(chr(10))} lines")
