"""Dump and restore a database by pg_dump and pg_restore of the embedded server's wheel."""

import os
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from config.runtime.postgres.server import INSTALLATION

VARIABLES = {
    "dbname": "PGDATABASE",
    "host": "PGHOST",
    "port": "PGPORT",
    "user": "PGUSER",
    "password": "PGPASSWORD",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}
"""Environment variables for connection parameters, which keep the password out of the command line."""


def run_program(name: str, parameters: Mapping[str, Any], *options: str) -> str:
    """Run a PostgreSQL program and return its output. Raises CalledProcessError with its error output."""
    connection = {
        variable: str(parameters[key]) for key, variable in VARIABLES.items() if parameters.get(key)
    }
    done = subprocess.run(  # noqa: S603  # the server's own program
        [INSTALLATION / "bin" / name, *options],
        env={**os.environ, **connection},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def dump(parameters: Mapping[str, Any], file: Path) -> None:
    """Dump a consistent snapshot of a live database, the broker's queue included, to a file."""
    draft = file.with_name(f"{file.name}.new")
    draft.touch(mode=0o600)
    run_program("pg_dump", parameters, "--format=custom", "--no-owner", "--no-privileges", f"--file={draft}")
    draft.replace(file)


def restore(parameters: Mapping[str, Any], file: Path) -> None:
    """Restore a dump into an empty database, completely or not at all. Raises CalledProcessError.

    By way of an SQL script: pg_restore itself uses settings that servers before 17 do not know.
    """
    programs = INSTALLATION / "bin"
    reading = [str(programs / "pg_restore"), "--no-owner", "--no-privileges", "--file=-", str(file)]
    options = (
        "--no-psqlrc",
        "--quiet",
        "--single-transaction",
        "--set=ON_ERROR_STOP=1",
        "--output=/dev/null",
    )
    connection = {
        variable: str(parameters[key]) for key, variable in VARIABLES.items() if parameters.get(key)
    }
    with (
        subprocess.Popen(reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as reader,  # noqa: S603  # as above
        subprocess.Popen(  # noqa: S603  # as above
            [str(programs / "psql"), *options],
            env={**os.environ, **connection},
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as writer,
    ):
        if reader.stdout is None or writer.stdin is None:
            return
        is_left_out = False
        with suppress(BrokenPipeError):
            for line in reader.stdout:
                if not is_left_out and line == b"SET transaction_timeout = 0;\n":
                    is_left_out = True
                else:
                    writer.stdin.write(line)
        _, reading_errors = reader.communicate()
        if reader.returncode:
            writer.kill()  # a partial restore is rolled back
        with suppress(BrokenPipeError):
            writer.stdin.close()
        said = writer.stderr.read() if writer.stderr is not None else b""
        status = reader.returncode or writer.wait()
    if status:
        raise subprocess.CalledProcessError(
            status, "restore", stderr=(reading_errors or said).decode().strip()
        )
