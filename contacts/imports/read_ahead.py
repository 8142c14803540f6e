"""ReadAhead: batches of prepared rows, made by a thread while the database works on the one before."""

from collections.abc import Iterator
from queue import Empty, Full, Queue
from threading import Event as Flag
from threading import Thread
from typing import Final, Generic, NamedTuple

from config.errors import DomainError
from config.files.mapping import ColumnMapping
from config.files.reading import InputFile
from config.files.rows import MAX_ROW_BYTES, Place, Row
from contacts.imports.kinds import ImportKind, ItemT, PreparedRow

_BATCH_BYTES: Final = 4 * MAX_ROW_BYTES


class Batch(NamedTuple, Generic[ItemT]):
    """Rows that are recorded in one transaction, and the place of the first."""

    start: Place
    rows: list[PreparedRow[ItemT]]

    def halves(self) -> tuple["Batch[ItemT]", "Batch[ItemT]"]:
        """Return both halves of more than one row."""
        middle = len(self.rows) // 2
        last = self.rows[middle - 1].row
        return Batch(self.start, self.rows[:middle]), Batch(
            Place(last.end, last.next_line), self.rows[middle:]
        )


class Share(NamedTuple):
    """Which batches of a file a process records: every one, or of two processes every second."""

    number: int = 0
    of: int = 1


class ReadAhead(Generic[ItemT]):
    """The batches of a file from a place on. Stop it after use."""

    def __init__(
        self,
        file: InputFile,
        start: Place,
        kind: ImportKind[ItemT],
        mapping: ColumnMapping,
        *,
        key_prefix: str,
        batch_rows: int,
        share: Share = Share(),  # noqa: B008  (immutable)
    ) -> None:
        """Begin to read; the key of a row that has none is the prefix and its line."""
        self._start, self._share = start, share
        self._file, self._rows = file, file.rows(start)
        self._kind, self._mapping = kind, mapping
        self._prefix = key_prefix
        self._batch_rows = batch_rows
        self._queue: Queue[Batch[ItemT] | Exception | None] = Queue(maxsize=2)
        self._is_stopped = Flag()
        self._thread = Thread(target=self._read, name="import reader", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Batch[ItemT]]:
        """Yield the batches; what went wrong in reading is raised after those before it."""
        while True:
            batch = self._queue.get()
            if batch is None:
                return
            if isinstance(batch, Exception):
                raise batch
            yield batch

    def stop(self) -> None:
        """End the thread."""
        self._is_stopped.set()
        while self._thread.is_alive():
            try:
                self._queue.get(timeout=0.05)
            except Empty:
                continue
        self._thread.join()

    def _read(self) -> None:
        failure: Exception | None = None
        try:
            for batch in self._batches():
                if not self._put(batch):
                    return
        except Exception as error:
            failure = error
        self._put(failure)

    def _batches(self) -> Iterator[Batch[ItemT]]:
        """Yield the batches of the share. What goes wrong in reading is raised after the rows before it."""
        start, prepared = self._start, list[PreparedRow[ItemT]]()
        number = count = size = 0
        self._file.are_rows_read = is_own = self._share.number == 0
        failure: Exception | None = None
        try:
            for row in self._rows:
                count += 1
                size += row.size
                if is_own:
                    prepared.append(self._prepared(row))
                if count >= self._batch_rows or row.end - start.position + size > _BATCH_BYTES:
                    if is_own:
                        yield Batch(start, prepared)
                        prepared = []
                    start, count = Place(row.end, row.next_line), 0
                    size = 0
                    number += 1
                    self._file.are_rows_read = is_own = number % self._share.of == self._share.number
        except Exception as error:
            failure = error
        if prepared:
            yield Batch(start, prepared)
        if failure is not None:
            raise failure

    def _put(self, item: Batch[ItemT] | Exception | None) -> bool:
        while not self._is_stopped.is_set():
            try:
                self._queue.put(item, timeout=0.2)
            except Full:
                continue
            return True
        return False

    def _prepared(self, row: Row) -> PreparedRow[ItemT]:
        key = row.key or f"{self._prefix}{row.number}"
        if row.values is None:
            return PreparedRow(row, None, row.problem, key)
        if self._mapping.leaves_out(row.values):
            return PreparedRow(row, None, "", key)
        try:
            return PreparedRow(row, self._kind.prepare(self._mapping, row, key), "", key)
        except DomainError as error:
            return PreparedRow(row, None, error.message, key)
