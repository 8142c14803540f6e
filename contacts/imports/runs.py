"""Begin imports and go on with them: which import a file is, and how it is imported."""

import hashlib
import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Protocol
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from config import clock
from config.db.statements import execute
from config.files.errors import UnreadableFile
from config.files.reading import STANDARD_INPUT, InputFile
from config.files.rows import Place
from contacts.errors import ImportRunning
from contacts.imports.kinds import ImportKind, ItemT
from contacts.imports.runner import ImportRunner, ImportTerms, OnProgress
from contacts.models import Import, ImportQuerySet

OnBegin = Callable[[str], object]
"""Called with a sentence where it is not evident where in a file an import begins."""
_MOST_BEFORE: Final = 1_000
SILENCE: Final = timedelta(seconds=60)
"""After which a command's import of which nothing is heard is taken for dead."""


def import_file(
    workspace_id: UUID,
    file: InputFile,
    kind: ImportKind[ItemT],
    terms: ImportTerms,
    *,
    on_progress: OnProgress = lambda run: True,
    on_begin: OnBegin = lambda sentence: None,
    restart: bool = False,
) -> Import:
    """Import a file, or what is left of it; each batch is a transaction that notes the place after it.

    Killed at any moment, or stopped by `on_progress`, it goes on there when it is called again; `restart`: at the
    beginning. A file that has grown since it was imported goes on where that ended, and `on_begin` is told so;
    also if it is another one than was imported of its name. Raises DamagedFile and UnreadableFile once what came
    before is recorded, the import is `failed` then; ImportRunning if another process is at the same file, also where
    that was uploaded; ImportCancelled.
    """
    run, sentence = _begin(workspace_id, file, kind, terms, restart=restart)
    if sentence:
        on_begin(sentence)
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
    found: ImportQuerySet = _under_terms(workspace_id, kind, terms).filter(
        fingerprint=fingerprint, dry_run=dry_run
    )
    return found


def _under_terms(workspace_id: UUID, kind: ImportKind[Any], terms: ImportTerms) -> ImportQuerySet:
    found: ImportQuerySet = Import.objects.in_workspace(workspace_id).filter(
        kind=kind.kind,
        effects=terms.effects,
        mapping=terms.mapping.definition,
        options=dict(kind.options),
    )
    return found


@transaction.atomic
def _begin(
    workspace_id: UUID, file: InputFile, kind: ImportKind[ItemT], terms: ImportTerms, *, restart: bool
) -> tuple[Import, str]:
    """Return the import of a file under these terms that did not end, or a new one, and what is to be told of it."""
    fingerprint = fingerprint_of(file, terms.name)
    same = imports_like(workspace_id, kind, fingerprint, terms)
    check_no_other(same.open_uploads())
    if not restart and (run := same.unfinished().order_by("-id").first()) is not None:
        if file.size is not None and file.size < run.position:
            raise UnreadableFile(
                "The file is shorter than what was imported of it: it is another one, of which --restart begins anew"
            )
        return run, ""
    name = terms.name or ("standard-input" if file.path == STANDARD_INPUT else Path(file.path).name)
    # Of a name that is no UTF-8 the bytes are shown.
    name = name.encode("utf-8", "backslashreplace").decode().replace("\x00", "")
    refused_file = terms.refused_file or _refused_path(file, name)
    if refused_file.exists() and not file.is_stream and refused_file.samefile(file.path):
        raise UnreadableFile("The file of refused rows cannot be the one that is imported")
    place, sentence = Place(), ""
    if not (restart or terms.name or file.size is None or file.form == "parquet"):
        place, sentence = _place_in_grown(workspace_id, file, file.size, kind, terms, name)
    run = Import.objects.create(
        workspace_id=workspace_id,
        kind=kind.kind,
        name=name[:255],
        position=place.position,
        line=place.line,
        fingerprint=fingerprint,
        mapping=terms.mapping.definition,
        options=dict(kind.options),
        effects=terms.effects,
        size=file.size,
        refused_file=str(refused_file.absolute()),
        # Behind what is there.
        refused_bytes=refused_file.stat().st_size if refused_file.exists() else 0,
    )
    return run, sentence


def _place_in_grown(
    workspace_id: UUID, file: InputFile, size: int, kind: ImportKind[Any], terms: ImportTerms, name: str
) -> tuple[Place, str]:
    """Return where a file goes on that begins with all that was imported before, and a sentence about it.

    A row that was cut then, as it had no end yet, comes again as a whole. Raises ImportRunning.
    """
    uploads = ~Q(origin=Import.Origin.COMMAND)
    is_open = Q(status__in=[Import.Status.QUEUED, Import.Status.RUNNING])
    before = list(
        _under_terms(workspace_id, kind, terms)
        .filter(dry_run=False, position__gt=0)
        .exclude(Q(status=Import.Status.CANCELLED) | (uploads & is_open))
        .order_by("-id")[:_MOST_BEFORE]
    )
    hashes = file.fingerprints(run.size for run in before if run.size)
    begun = [run for run in before if (run.size or size) < size and hashes[run.size or 0] == run.fingerprint]
    if begun:
        last = max(begun, key=lambda run: (run.position, run.id))
        check_no_other(imports_like(workspace_id, kind, last.fingerprint, terms))
        place = file.last_line(Place(last.position, last.line))
        return place, f"The file has grown since it was imported: it goes on at line {place.line:,}"
    same_name = next(
        (run for run in before if run.name == name and run.origin == Import.Origin.COMMAND), None
    )
    if same_name is None or hashes[size] == same_name.fingerprint:
        return Place(), ""
    return Place(), (
        f"The file does not begin as the one of this name of {same_name.started_at:%Y-%m-%d %H:%M} UTC: "
        "it is imported from its beginning"
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
