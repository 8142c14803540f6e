"""Begin imports and go on with them: which import a file is, and how it is imported."""

import hashlib
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

from django.db import transaction

from config import clock
from config.db.statements import execute
from config.files.errors import UnreadableFile
from config.files.reading import STANDARD_INPUT, InputFile
from contacts.errors import ImportRunning
from contacts.imports.kinds import ImportKind, ItemT
from contacts.imports.runner import ImportRunner, ImportTerms, OnProgress
from contacts.models import Import, ImportQuerySet

SILENCE: Final = timedelta(seconds=60)
"""After which a command's import of which nothing is heard is taken for dead."""


def import_file(
    workspace_id: UUID,
    file: InputFile,
    kind: ImportKind[ItemT],
    terms: ImportTerms,
    *,
    on_progress: OnProgress = lambda run: True,
    restart: bool = False,
) -> Import:
    """Import a file, or what is left of it; each batch is a transaction that notes the place after it.

    Killed at any moment, or stopped by `on_progress`, it goes on there when it is called again; `restart`: at the
    beginning. Raises DamagedFile and UnreadableFile once what came before is recorded, the import is `failed` then;
    ImportRunning if another process is at the same file, also where that was uploaded; ImportCancelled.
    """
    run = _begin(workspace_id, file, kind, terms, restart=restart)
    if not on_progress(run):
        return run
    return ImportRunner(workspace_id, run, kind, terms).run(file, on_progress)


def try_file(
    workspace_id: UUID,
    file: InputFile,
    kind: ImportKind[ItemT],
    terms: ImportTerms,
    *,
    on_progress: OnProgress = lambda run: True,
) -> tuple[Import, list[str]]:
    """Decide every row and undo it. Returns the counts, which are not stored, and the first causes of refusals."""
    run = Import(
        workspace_id=workspace_id,
        fingerprint=fingerprint_of(file, terms.name),
        effects=terms.effects,
        size=file.size,
    )
    return run, ImportRunner(workspace_id, run, kind, terms).try_out(file, on_progress)


def continue_import(
    run: Import, file: InputFile, kind: ImportKind[ItemT], terms: ImportTerms, *, on_progress: OnProgress
) -> Import:
    """Go on with an import where it stands, until it ends or `on_progress` stops it.

    Raises as `import_file` does. An upload does not fail of what may pass: it keeps the error and stays open.
    """
    return ImportRunner(run.workspace_id, run, kind, terms).run(file, on_progress)


def check_no_other(same: ImportQuerySet) -> None:
    """Raise ImportRunning where one of these imports, of the same file, is under way."""
    heard_since = clock.now() - SILENCE
    for run in [*same.open_uploads(), *same.unfinished().filter(updated_at__gte=heard_since)]:
        if run.is_open:
            raise ImportRunning(run.id)


def imports_like(
    workspace_id: UUID, kind: ImportKind[Any], fingerprint: str, terms: ImportTerms, *, dry_run: bool = False
) -> ImportQuerySet:
    """Return the imports of the same file under the same terms; until the commit nobody else begins one."""
    execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('import ' || %s || %s, 0))",
        [str(workspace_id), fingerprint],
    )
    found: ImportQuerySet = Import.objects.in_workspace(workspace_id).filter(
        kind=kind.kind,
        fingerprint=fingerprint,
        effects=terms.effects,
        mapping=terms.mapping.definition,
        options=dict(kind.options),
        dry_run=dry_run,
    )
    return found


@transaction.atomic
def _begin(
    workspace_id: UUID, file: InputFile, kind: ImportKind[ItemT], terms: ImportTerms, *, restart: bool
) -> Import:
    """Return the import of a file under these terms that did not end, or a new one."""
    fingerprint = fingerprint_of(file, terms.name)
    same = imports_like(workspace_id, kind, fingerprint, terms)
    check_no_other(same.open_uploads())
    if not restart and (run := same.unfinished().order_by("-id").first()) is not None:
        if file.size is not None and file.size < run.position:
            raise UnreadableFile(
                "The file is shorter than what was imported of it: it is another one, of which --restart begins anew"
            )
        return run
    name = terms.name or ("standard-input" if file.path == STANDARD_INPUT else Path(file.path).name)
    # Of a name that is no UTF-8 the bytes are shown.
    name = name.encode("utf-8", "backslashreplace").decode().replace("\x00", "")
    refused_file = terms.refused_file or _refused_path(file, name)
    if refused_file.exists() and not file.is_stream and refused_file.samefile(file.path):
        raise UnreadableFile("The file of refused rows cannot be the one that is imported")
    return Import.objects.create(
        workspace_id=workspace_id,
        kind=kind.kind,
        name=name[:255],
        fingerprint=fingerprint,
        mapping=terms.mapping.definition,
        options=dict(kind.options),
        effects=terms.effects,
        size=file.size,
        refused_file=str(refused_file.absolute()),
        # Behind what is there.
        refused_bytes=refused_file.stat().st_size if refused_file.exists() else 0,
    )


class Fingerprinted(Protocol):
    """A file whose content has a hash."""

    @property
    def fingerprint(self) -> str:
        """Return the hash."""


def fingerprint_of(file: InputFile | Fingerprinted, name: str) -> str:
    """Return what tells a file from others: its content, or the name that was given for it."""
    if name:
        return hashlib.blake2b(f"name:{name}".encode(), digest_size=16).hexdigest()
    is_read_once = isinstance(file, InputFile) and file.is_stream
    return secrets.token_hex(16) if is_read_once else file.fingerprint


def _refused_path(file: InputFile, name: str) -> Path:
    """Return a free path next to the input."""
    folder = Path() if file.is_stream else Path(file.path).absolute().parent
    stem = "".join(character if character.isalnum() or character in "._-" else "-" for character in name)
    paths = (folder / f"{stem}.refused{number}.jsonl" for number in ("", *range(2, 10_000)))
    return next((path for path in paths if not path.exists()), folder / f"{stem}.refused.jsonl")
