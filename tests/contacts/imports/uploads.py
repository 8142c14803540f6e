"""Upload files in tests, and have workers import them, in this process or in one that is killed."""

import contextlib
import io
import os
import signal
import time

import orjson
from django.db import connections

from config.files.received import receive
from contacts import tasks
from contacts.imports import uploads
from contacts.imports.refused_rows import refused_lines
from contacts.imports.uploads import UploadRequest, accept_upload
from contacts.models import Import


def upload(workspace, content, kind="contacts", *, name="file.csv", effects="scores-and-segments", **options):
    """Store a file as a request does; return its import."""
    content = content if isinstance(content, bytes) else content.encode()
    request = UploadRequest(Import.Kind(kind), Import.Effects(effects), **options)
    with receive(io.BytesIO(content), name, 100_000_000) as received:
        return accept_upload(workspace.id, received, request)


def work(workspace):
    """Do what workers do until nothing is left; return what each task said."""
    words = []
    requeue = tasks.continue_uploads.apply_async
    tasks.continue_uploads.apply_async = lambda **_: None
    try:
        while not words or words[-1] == "more":
            words.append(tasks.continue_uploads(str(workspace.id)))
    finally:
        tasks.continue_uploads.apply_async = requeue
    return words


def counts(run):
    """Return the status of an import and its counts: rows, recorded, known, refused."""
    run.refresh_from_db()
    return run.status, run.rows, run.recorded, run.known, run.refused


def refused(run):
    """Return the refused rows of an import."""
    return [orjson.loads(line) for line in refused_lines(run)]


def in_small_batches(monkeypatch, rows, seconds=None):
    """Have workers commit so many rows at a time, and be given another task after so long."""
    terms = uploads.ImportTerms
    monkeypatch.setattr(uploads, "ImportTerms", lambda *args: terms(*args, batch_rows=rows))
    if seconds is not None:
        monkeypatch.setattr(tasks, "SLICE_SECONDS", seconds)


def work_and_be_killed(workspace, position):
    """Work in a process of its own, which is killed once an import has come so far. Returns whether it was."""
    child = work_in_a_child(workspace)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not Import.objects.filter(position__gte=position).exists():
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def work_in_a_child(workspace):
    """Work in a process of its own; return its id."""
    connections.close_all()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            work(workspace)
            os._exit(0)
        os._exit(1)
    return child
