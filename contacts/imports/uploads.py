"""Imports of uploaded files: the file is stored before it is answered, and workers import it slice by slice.

A workspace's imports go one after the other, in the order in which they came: so contacts that were given before
their events are there before these.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import IO, Any, Final
from uuid import UUID

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage
from django.db import transaction
from django.db.models import Max, Q
from django.utils.module_loading import import_string

from config import clock, ids
from config.db.backfill import for_each
from config.db.connection_slots import away_from_database
from config.errors import DomainError
from config.files.errors import UnreadableFile, UploadNotStored
from config.files.mapping import ColumnMapping
from config.files.reading import Form, InputFile
from config.files.received import ReceivedFile
from config.files.rows import Place
from config.files.storage import storage_errors, temporary_file, upload_storage
from config.ids import parse_uuid
from config.runtime import background
from contacts.errors import ImportCancelled, ImportEnded, ImportRunning
from contacts.imports.kinds import ImportKind
from contacts.imports.maps import map_from_text
from contacts.imports.refused_rows import names_erased
from contacts.imports.runner import ImportTerms, note_error
from contacts.imports.runs import check_no_other, continue_import, fingerprint_of, imports_like
from contacts.models import Erasure, Import, RefusedRow
from contacts.schedule import IDLE_SECONDS

TASK: Final = "contacts.tasks.continue_uploads"
_ORPHAN_AGE: Final = timedelta(hours=1)
_PURGED_ROWS: Final = 1_000


@dataclass(frozen=True)
class UploadRequest:
    """How an uploaded file is to be imported; `map` is a vendor's name or a document, `options` are the kind's."""

    kind: Import.Kind
    effects: Import.Effects = Import.Effects.SCORES_AND_SEGMENTS
    map: str = ""
    name: str = ""
    form: Form | None = None
    encoding: str = ""
    delimiter: str = ""
    dry_run: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    origin: Import.Origin = Import.Origin.API
    actor: str = ""


def import_kind(kind: str, options: Mapping[str, str]) -> ImportKind[Any]:
    """Return the kind of import of a name."""
    found: ImportKind[Any] = import_string(settings.IMPORT_KINDS[kind]).with_options(options)
    return found


def accept_upload(workspace_id: UUID, received: ReceivedFile, request: UploadRequest) -> Import:
    """Store an uploaded file, for the workers to import.

    Raises InvalidMapping, UnreadableFile and DamagedFile, ImportRunning where the same is being imported, and
    UploadNotStored.
    """
    kind = import_kind(request.kind, request.options)
    terms = ImportTerms(map_from_text(kind, request.map), request.effects, request.name)
    file = received.read_as(request.form, request.encoding, request.delimiter)
    # So whoever sends what is no table is told at once.
    next(file.rows(Place()), None)
    run_id = ids.uuid7()
    stored = _store(workspace_id, run_id, received)
    try:
        with transaction.atomic():
            fingerprint = fingerprint_of(received, request.name)
            check_no_other(imports_like(workspace_id, kind, fingerprint, terms, dry_run=request.dry_run))
            run = Import.objects.create(
                id=run_id,
                workspace_id=workspace_id,
                kind=kind.kind,
                name=(request.name or received.name)[:255],
                fingerprint=fingerprint,
                mapping=terms.mapping.definition,
                options=dict(kind.options),
                effects=request.effects,
                size=file.size,
                origin=request.origin,
                upload=stored,
                form=file.form,
                delimiter=request.delimiter,
                dry_run=request.dry_run,
                actor=request.actor[:255],
                status=Import.Status.QUEUED,
            )
            background.wake(TASK, str(workspace_id))
    except BaseException:
        with suppress(OSError), storage_errors():
            upload_storage().delete(stored)
        raise
    return run


def continue_uploads(workspace_id: UUID, *, at_most_seconds: float) -> str:
    """Go on with a workspace's uploads for some time. Returns "done", "nothing" or "more".

    Raises what may pass: it is tried again later.
    """
    run = _next_upload(workspace_id)
    if run is None:
        return "nothing"
    deadline = monotonic() + at_most_seconds
    try:
        _continue(run, deadline)
    except ImportRunning:
        return "nothing"
    except ImportCancelled:
        pass
    except DomainError:
        run.refresh_from_db(fields=["status"])
        if run.is_open:
            raise
    if not run.is_open:
        _let_go(run)
    return "done" if _next_upload(workspace_id) is None else "more"


def idle_workspaces() -> list[UUID]:
    """Return the workspaces with uploads that nobody is at: a worker was killed, or its wake-up lost."""
    waiting = Import.objects.all().open_uploads().values("workspace_id")
    heard = waiting.annotate(at=Max("updated_at")).filter(
        at__lt=clock.now() - timedelta(seconds=IDLE_SECONDS)
    )
    return list(heard.values_list("workspace_id", flat=True))


def cancel_import(workspace_id: UUID, run: Import) -> Import:
    """End an import where it stands; what is recorded stays. Raises ImportEnded."""
    own = Import.objects.in_workspace(workspace_id).filter(id=run.id)
    now = clock.now()
    is_open = Q(status__in=[Import.Status.QUEUED, Import.Status.RUNNING])
    ended = own.filter(is_open).update(status=Import.Status.CANCELLED, updated_at=now, finished_at=now)
    run.refresh_from_db()
    if not ended:
        raise ImportEnded(run.status)
    return run


def purge_uploads() -> int:
    """Delete the files of imports that are over for `UPLOAD_DAYS`, with their refused rows, and files of no import.

    Returns how many files.
    """
    over_since = clock.now() - timedelta(days=settings.UPLOAD_DAYS)
    over = Import.objects.exclude(origin=Import.Origin.COMMAND).filter(finished_at__lt=over_since)
    old = list(over.filter(~Q(upload="") | Q(refused_bytes__gt=0)))
    for_each(old, _purge)
    with storage_errors():
        return len(old) + _purge_orphans()


def delete_uploads_over(workspace_id: UUID) -> int:
    """Delete the files of a workspace's imports that are over, after the commit. Returns how many."""
    over = Import.objects.in_workspace(workspace_id).exclude(upload="").filter(finished_at__isnull=False)
    runs = list(over)
    for run in runs:
        transaction.on_commit(lambda run=run: _delete_file(run))  # type: ignore[misc]
    return len(runs)


def _next_upload(workspace_id: UUID) -> Import | None:
    """Return the import whose turn it is: the oldest, but for those that failed a moment ago."""
    waiting = Import.objects.in_workspace(workspace_id).open_uploads()
    rested = Q(error="") | Q(updated_at__lt=clock.now() - timedelta(seconds=IDLE_SECONDS))
    found: Import | None = waiting.filter(rested).order_by("id").first()
    return found


def _continue(run: Import, deadline: float) -> None:
    kind = import_kind(run.kind, run.options)
    terms = ImportTerms(ColumnMapping(kind.fields, run.mapping), Import.Effects(run.effects))
    try:
        with _opened(run) as file:
            continue_import(run, file, kind, terms, on_progress=lambda _: monotonic() < deadline)
    except (OSError, UnreadableFile) as error:
        note_error(run, error)
        raise


@contextmanager
def _opened(run: Import) -> Iterator[InputFile]:
    with _local_file(run.upload) as content:
        yield InputFile(run.name, run.form, "utf-8", run.delimiter, file=content)  # type: ignore[arg-type]  # a Form


@contextmanager
def _local_file(name: str) -> Iterator[IO[bytes]]:
    """Open a stored file. One that is on no disk here is fetched once, for all slices of this process."""
    storage = upload_storage()
    if isinstance(storage, FileSystemStorage):
        with open(storage.path(name), "rb") as content:
            yield content
        return
    if _fetched.name != name:
        _fetched.drop()
        with storage_errors(), storage.open(name) as stored:
            _fetched.keep(name, stored)
    yield _fetched.content


class _FetchedFile:
    """The last file that this process fetched from a storage that is no folder."""

    def __init__(self) -> None:
        self.name = ""
        self.content: IO[bytes]

    def keep(self, name: str, stored: File[Any]) -> None:
        """Copy a stored file."""
        with ExitStack() as closed_on_error:
            content = closed_on_error.enter_context(temporary_file())
            shutil.copyfileobj(stored, content)
            closed_on_error.pop_all()
        self.name, self.content = name, content

    def drop(self) -> None:
        """Give up the copy."""
        if self.name:
            self.name = ""
            self.content.close()


_fetched = _FetchedFile()


def _store(workspace_id: UUID, run_id: UUID, received: ReceivedFile) -> str:
    received.file.seek(0)
    try:
        # A storage that is far away takes its time for a large file.
        with away_from_database(), storage_errors():
            return upload_storage().save(f"{workspace_id}/{run_id}", File(received.file))
    except OSError as error:
        raise UploadNotStored(error.strerror or str(error)) from error


def _let_go(run: Import) -> None:
    """Delete the file of an import that is over at once if it names somebody who was erased, or may."""
    if _fetched.name == run.upload:
        _fetched.drop()
    erased = Erasure.objects.in_workspace(run.workspace_id).filter(erased_at__gte=run.started_at)
    if erased.exists() or names_erased(run):
        _delete_file(run)


def _delete_file(run: Import) -> None:
    if run.upload:
        with storage_errors():
            upload_storage().delete(run.upload)
        Import.objects.in_workspace(run.workspace_id).filter(id=run.id).update(upload="")


def _purge(run: Import) -> None:
    _delete_refused_rows(run)
    _delete_file(run)


def _delete_refused_rows(run: Import) -> None:
    rows = RefusedRow.objects.in_workspace(run.workspace_id).filter(run=run)
    while batch := list(rows.values_list("id", flat=True)[:_PURGED_ROWS]):
        rows.filter(id__in=batch).delete()
    Import.objects.in_workspace(run.workspace_id).filter(id=run.id).update(refused_bytes=0)


def _purge_orphans() -> int:
    """Delete files of no import: of a deleted workspace, or of a request that was killed before its commit."""
    storage = upload_storage()
    deleted = 0
    with suppress(FileNotFoundError):
        for folder in storage.listdir("")[0]:
            names = {f"{folder}/{name}" for name in storage.listdir(folder)[1]}
            of_imports = Import.objects.in_workspace(parse_uuid(folder)).exclude(upload="")
            for name in names.difference(of_imports.values_list("upload", flat=True)):
                if storage.get_modified_time(name) < clock.now() - _ORPHAN_AGE:
                    storage.delete(name)
                    deleted += 1
    return deleted
