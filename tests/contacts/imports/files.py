"""Run import commands in tests, also in a process that can be killed."""

import contextlib
import os
import signal
import time
from io import StringIO

import orjson
from django.core.management import CommandError, call_command
from django.db import connections

from contacts.models import Import


def run(command, path, workspace, **options):
    """Run a command; return its exit status, output and errors."""
    out, errors = StringIO(), StringIO()
    try:
        call_command(command, str(path), workspace=str(workspace.id), stdout=out, stderr=errors, **options)
    except CommandError as error:
        errors.write(str(error))
        return error.returncode, out.getvalue().strip(), errors.getvalue()
    return 0, out.getvalue().strip(), errors.getvalue()


def refused_rows():
    """Return the lines of the last import's file of refused rows."""
    path = Import.objects.latest("id").refused_file
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        return [orjson.loads(line) for line in file]
    return []


def run_and_kill(command, path, workspace, position, **options):
    """Run a command in a process of its own, which is killed once its import has come so far."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = run(command, path, workspace, **options)[0]
        finally:
            os._exit(status)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not Import.objects.filter(position__gte=position).exists():
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)
