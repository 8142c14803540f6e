"""A database as one file, and back: PostgreSQL's own pg_dump and pg_restore, those of the embedded server's wheel."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.postgres.server import INSTALLATION

VARIABLES = {
    "dbname": "PGDATABASE",
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}
"""How libpq's programs are told of a connection's parameters, so that no password is in a command."""


def run_program(name: str, parameters: Mapping[str, Any], *options: str) -> str:
    """Run one of PostgreSQL's programs and return what it writes. Raises CalledProcessError, which has its errors."""
    told = {variable: str(parameters[key]) for key, variable in VARIABLES.items() if parameters.get(key)}
    done = subprocess.run(  # noqa: S603  # the server's own program
        [INSTALLATION / "bin" / name, *options],
        env={**os.environ, **told},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def dump(parameters: Mapping[str, Any], file: Path) -> None:
    """Write all of a database to a file as of one moment, the broker's queue too, while everything goes on."""
    draft = file.with_name(f"{file.name}.new")
    draft.touch(mode=0o600)
    run_program("pg_dump", parameters, "--format=custom", "--no-owner", "--no-privileges", f"--file={draft}")
    draft.replace(file)


def restore(parameters: Mapping[str, Any], file: Path) -> None:
    """Fill an empty database from a file of `dump`, wholly or not at all."""
    options = ("--no-owner", "--no-privileges", "--single-transaction", "--exit-on-error")
    run_program("pg_restore", parameters, *options, f"--dbname={parameters['dbname']}", str(file))
