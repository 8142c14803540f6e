"""Run an import: decide a batch of rows in a transaction, and note how far it has come in the same."""

import logging
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, get_args
from uuid import UUID

from django.db import (
    DataError,
    InterfaceError,
    OperationalError,
    close_old_connections,
    connection,
    transaction,
)

from config import clock
from config.db.contention import holds_up, pause_for_others
from config.db.errors import storable_error
from config.db.statements import execute
from config.errors import DomainError, TryAgain, UnavailableError
from config.files.mapping import ColumnMapping
from config.files.reading import InputFile
from config.files.refused import RefusedFile, refused_row
from config.files.rows import Place
from contacts.errors import ImportCancelled, ImportRunning
from contacts.imports.kinds import ImportKind, ItemT, PreparedRow
from contacts.imports.processes import Progress, Turn, record_together
from contacts.imports.read_ahead import Batch, ReadAhead
from contacts.imports.refused_rows import RefusedRows
from contacts.models import Import
from contacts.signals import Effects

logger = logging.getLogger(__name__)

_ATTEMPTS: Final = 6
_WAIT_SECONDS: Final = 0.5
_MOST_CAUSES: Final = 20
_LOOK_SECONDS: Final = 0.1
_SETTLE_ROWS: Final = 500_000

_EFFECTS: Final[dict[str, Effects]] = {effects: effects for effects in get_args(Effects)}

_PASSING: Final = (OperationalError, InterfaceError, OSError, UnavailableError)
"""Errors that say nothing about the file: of the database, and of the storage."""

OnProgress = Callable[[Import], bool]
"""Called after each batch, by commands also before the first; returns whether to go on."""


@dataclass(frozen=True)
class ImportTerms:
    """How a file is imported.

    `name` stands for the content where that changes or cannot be read twice: the same name is the same file.
    """

    mapping: ColumnMapping
    effects: Import.Effects = Import.Effects.SCORES_AND_SEGMENTS
    name: str = ""
    refused_file: Path | None = None
    batch_rows: int | None = None
    """Rows of a transaction; None: as many as the kind has usually."""
    jobs: int = 1
    """Processes that record at the same time; one in any case of ordered rows and of a stream."""


class _HoldsUpOthers(Exception):
    """Another process of the import, whose turn comes first, waits for what this one has changed."""


@dataclass(frozen=True, slots=True)
class _Decided:
    """What became of a batch: counts, and the lines for the file of refused rows."""

    recorded: int
    known: int
    refused: list[dict[str, Any]]
    left_out: int = 0


@dataclass
class ImportRunner(Generic[ItemT]):
    """Runs an import in one process, or in several that share its batches."""

    workspace_id: UUID
    stored: Import
    kind: ImportKind[ItemT]
    terms: ImportTerms
    refused: RefusedFile | RefusedRows = field(init=False)
    turn: Turn = field(default_factory=Turn)

    def run(self, file: InputFile, on_progress: OnProgress) -> Import:
        """Import from where the import stands."""
        run = self.stored
        self._open_refused()
        _move_to(run, Import.Status.RUNNING, error="", finished_at=None)
        settled = run.rows // _SETTLE_ROWS
        is_alone = self.terms.jobs == 1 or self.kind.is_ordered or file.is_stream
        progresses = self._record(file) if is_alone else self._record_together(file)
        try:
            for _ in progresses:
                if run.rows // _SETTLE_ROWS > settled:
                    self._settle()
                    settled = run.rows // _SETTLE_ROWS
                if not on_progress(run):
                    progresses.close()
                    return run
        except (ImportRunning, ImportCancelled):
            raise
        except Exception as error:
            _renew_connection()
            note_error(run, error)
            raise
        self._settle()
        _move_to(run, Import.Status.DONE, finished_at=clock.now())
        return run

    def _record(self, file: InputFile) -> Generator[Progress, None, None]:
        """Record the batches of this process, each when the next progress is asked for."""
        batches = self._read_ahead(file)
        try:
            for batch in batches:
                began = time.monotonic()
                self._decide(batch)
                self.turn.end(self._progress)
                yield self._progress
                pause_for_others(time.monotonic() - began, besides=self._group)
        finally:
            batches.stop()

    def _record_together(self, file: InputFile) -> Generator[Progress, None, None]:
        """Have several processes record, and follow how far they are."""
        connection.close()
        work = partial(self._record_share, file)
        try:
            for progress in record_together(self.terms.jobs, self._progress, work):
                self._progress = progress
                yield progress
        finally:
            # What they told last may not be the last that they did.
            self.stored.refresh_from_db(fields=Progress._fields)

    def _record_share(self, file: InputFile, turn: Turn) -> Iterator[Progress]:
        """Record this process's share of the batches."""
        self.turn = turn
        connection.settings_dict["OPTIONS"]["application_name"] = f"{self._group} {turn.share.number}"
        with file.reopened() as own:
            yield from self._record(own)

    @property
    def _group(self) -> str:
        """What the names begin with under which the database knows the processes of this import."""
        return f"headrace import {self.stored.id}"

    @property
    def _progress(self) -> Progress:
        return Progress(*(getattr(self.stored, name) for name in Progress._fields))

    @_progress.setter
    def _progress(self, progress: Progress) -> None:
        for name, value in zip(Progress._fields, progress, strict=True):
            setattr(self.stored, name, value)
        self.refused.length = progress.refused_bytes

    def _settle(self) -> None:
        if not self.stored.dry_run:
            self.kind.settle(self.workspace_id)

    def try_out(self, file: InputFile, on_progress: OnProgress) -> list[str]:
        """Decide all, keep nothing but the counts."""
        run = self.stored
        causes: list[str] = []
        if not on_progress(run):
            return causes
        batches = self._read_ahead(file)
        try:
            for batch in batches:
                with transaction.atomic(durable=True):
                    decided = self._decisions(batch.rows)
                    transaction.set_rollback(True)
                self._count(decided)
                run.position = batch.rows[-1].row.end
                lines = (f"line {line['line']:,}: {line['cause']}" for line in decided.refused)
                causes += islice(lines, _MOST_CAUSES - len(causes))
                if not on_progress(run):
                    break
        finally:
            batches.stop()
        return causes

    def _open_refused(self) -> None:
        """Open what keeps refused rows; what is cut off a file there is of no other process, which has the import."""
        run = self.stored
        with transaction.atomic():
            self._take_place()
            self.refused = (
                RefusedFile(Path(run.refused_file), run.refused_bytes)
                if run.origin == Import.Origin.COMMAND
                else RefusedRows(run)
            )

    def _read_ahead(self, file: InputFile) -> ReadAhead[ItemT]:
        return ReadAhead(
            file,
            Place(self.stored.position, self.stored.line),
            self.kind,
            self.terms.mapping,
            key_prefix=f"import:{self.stored.fingerprint}:",
            batch_rows=self.terms.batch_rows or self.kind.batch_rows,
            share=self.turn.share,
        )

    def _decide(self, batch: Batch[ItemT]) -> None:
        """Record a batch and move the import on; again if others were in the way, halved if it cannot be stored."""
        failures = 0
        while True:
            try:
                self._commit(batch)
                return
            except _HoldsUpOthers:
                # Who has the turn waits for rows of ours: nothing goes on before these are given back.
                self._take_turn(None)
            except DataError as error:
                if len(batch.rows) > 1:
                    for half in batch.halves():
                        self._decide(half)
                    return
                (row,) = batch.rows
                cause = f"It cannot be stored: {storable_error(error)}"
                batch = batch._replace(rows=[row._replace(item=None, cause=cause)])
            except (OperationalError, TryAgain) as error:
                failures += 1
                if failures == _ATTEMPTS:
                    raise
                logger.warning("A batch of the import %s is tried again: %r", self.stored.id, error)
                time.sleep(_WAIT_SECONDS * 2 ** (failures - 1))
                _renew_connection()
                if self._is_committed(batch):
                    return

    def _commit(self, batch: Batch[ItemT]) -> None:
        run, last = self.stored, batch.rows[-1].row
        with transaction.atomic(durable=True):
            # A crash of the server may take the last batches with the place after them: they come again. What is said
            # to be done was committed after them, and waits for the disk.
            execute("SET LOCAL synchronous_commit TO off")
            if is_first := self.turn.is_own:
                self._take_place()
            decided = self._tried(batch) if run.dry_run else self._decisions(batch.rows)
            while not self._take_turn(_LOOK_SECONDS):
                if holds_up(f"{self._group} {self.turn.holder}"):
                    raise _HoldsUpOthers
            if not is_first:
                self._take_place()
            progress = Progress(
                last.end,
                last.next_line,
                run.recorded + decided.recorded,
                run.known + decided.known,
                run.refused + len(decided.refused),
                self.refused.append(decided.refused),
                run.left_out + decided.left_out,
            )
            Import.objects.in_workspace(run.workspace_id).filter(id=run.id).update(
                **progress._asdict(), updated_at=clock.now()
            )
        self._progress = progress

    def _take_turn(self, seconds: float | None) -> bool:
        """Wait until the batches before have been committed; tells whether they are."""
        if not self.turn.is_own:
            if (progress := self.turn.wait(seconds)) is None:
                return False
            self._progress = progress
        return True

    def _take_place(self) -> None:
        """Lock the import where it stands: whoever else is at it, or has cancelled it, is noticed before the work.

        Raises ImportRunning, ImportCancelled.
        """
        run = self.stored
        own = Import.objects.in_workspace(run.workspace_id).filter(id=run.id)
        here = own.filter(position=run.position, line=run.line).exclude(status=Import.Status.CANCELLED)
        if here.select_for_update(skip_locked=True, of=("self",)).values_list("id").first() is None:
            is_cancelled = own.filter(status=Import.Status.CANCELLED).exists()
            raise ImportCancelled(run.id) if is_cancelled else ImportRunning(run.id)

    def _tried(self, batch: Batch[ItemT]) -> _Decided:
        """Return what would become of a batch, of which nothing stays."""
        with transaction.atomic():
            decided = self._decisions(batch.rows)
            transaction.set_rollback(True)
        return decided

    def _count(self, decided: _Decided) -> None:
        self.stored.recorded += decided.recorded
        self.stored.known += decided.known
        self.stored.refused += len(decided.refused)
        self.stored.left_out += decided.left_out

    def _is_committed(self, batch: Batch[ItemT]) -> bool:
        """Tell whether a batch whose commit got no answer is stored, and take over what it noted then."""
        run, last = self.stored, batch.rows[-1].row
        if not Import.objects.filter(id=run.id, position=last.end, line=last.next_line).exists():
            return False
        run.refresh_from_db()
        self.refused.length = run.refused_bytes
        return True

    def _decisions(self, batch: Sequence[PreparedRow[ItemT]]) -> _Decided:
        sound = [prepared.item for prepared in batch if prepared.item is not None]
        decisions = iter(
            self.kind.record(self.workspace_id, _EFFECTS[self.terms.effects.value], sound) if sound else ()
        )
        recorded = known = 0
        refused: list[dict[str, Any]] = []
        for prepared in batch:
            cause = prepared.cause
            if prepared.item is not None:
                is_new, cause = next(decisions)
                recorded += is_new and not cause
                known += not is_new and not cause
            if cause:
                refused.append(_refused_line(prepared, cause))
        return _Decided(recorded, known, refused, len(batch) - recorded - known - len(refused))


def _renew_connection() -> None:
    """Have a connection that broke made anew."""
    if not connection.in_atomic_block:
        close_old_connections()


def _refused_line(prepared: PreparedRow[Any], cause: str) -> dict[str, Any]:
    row = prepared.row
    raw = row.raw if row.values is None else {"row": row.values}
    return refused_row(row.number, cause, prepared.key, raw)


def note_error(run: Import, error: Exception) -> None:
    """Keep why an import stopped: it failed, but for an upload where the cause may pass: that goes on later.

    Raises ImportCancelled.
    """
    text = error.message if isinstance(error, DomainError) else storable_error(error)
    if run.origin != Import.Origin.COMMAND and isinstance(error, _PASSING):
        _move_to(run, Import.Status.RUNNING, error=text, updated_at=clock.now())
    else:
        _move_to(run, Import.Status.FAILED, error=text, finished_at=clock.now())


def _move_to(run: Import, status: Import.Status, **values: Any) -> None:
    """Set the status and what goes with it. Raises ImportCancelled."""
    values["status"] = status
    own = Import.objects.in_workspace(run.workspace_id).filter(id=run.id)
    if not own.exclude(status=Import.Status.CANCELLED).update(**values):
        raise ImportCancelled(run.id)
    for name, value in values.items():
        setattr(run, name, value)
