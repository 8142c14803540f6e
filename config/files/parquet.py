"""Parquet, by pyarrow, which the extra `parquet` installs."""

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import import_module
from typing import IO, Any, Final
from uuid import UUID

from config.files.errors import DamagedFile, UnreadableFile
from config.files.rows import MAX_SHOWN, Place, Row

MAGIC: Final = b"PAR1"
_BATCH_ROWS: Final = 2_000
_INT64: Final = range(-(2**63), 2**63)


def load_pyarrow() -> Any:
    """Return pyarrow with its Parquet. Raises UnreadableFile, which names the extra, where it is not installed."""
    try:
        import_module("pyarrow.parquet")
        return import_module("pyarrow")
    except ImportError as error:
        raise UnreadableFile(
            "Parquet takes the extra `parquet`: pip install 'headrace[parquet]', or pip install pyarrow"
        ) from error


class ParquetRows:
    """Rows of a Parquet file; a row's position is its number."""

    def __init__(self, file: IO[bytes]) -> None:
        """Open the file. Raises UnreadableFile."""
        self._arrow = load_pyarrow()
        try:
            self._file = self._arrow.parquet.ParquetFile(file, pre_buffer=False)
        except (self._arrow.ArrowException, OSError) as error:
            raise UnreadableFile(f"The Parquet file cannot be read: {error}") from error

    def rows(self, start: Place) -> Iterator[Row]:
        """Yield rows after a position; row groups before it are not read. Raises DamagedFile."""
        number = 0
        for group in range(self._file.num_row_groups):
            count = self._file.metadata.row_group(group).num_rows
            if number + count <= start.position:
                number += count
                continue
            try:
                for batch in self._file.iter_batches(_BATCH_ROWS, row_groups=[group]):
                    yield from self._batch_rows(batch, number, start)
                    number += batch.num_rows
            except (self._arrow.ArrowException, OSError) as error:
                raise DamagedFile(f"The Parquet file is damaged after row {number:,}: {error}") from error

    def _batch_rows(self, batch: Any, number: int, start: Place) -> Iterator[Row]:
        if number + batch.num_rows <= start.position:
            return
        for place, values in enumerate(batch.to_pylist(maps_as_pydicts="lossy"), number + 1):
            if place <= start.position:
                continue
            try:
                plain = {name: plain_value(value) for name, value in values.items() if value is not None}
            except ValueError as error:
                text = repr(values)[:MAX_SHOWN].replace("\x00", "")
                yield Row(place, place, place + 1, None, str(error), {"text": text})
            else:
                yield Row(place, place, place + 1, plain)


def plain_value(value: Any) -> Any:
    """Return a value as JSON has it; times in UTC. Raises ValueError for what cannot be stored."""
    match value:
        case None | bool():
            return value
        case str():
            if "\x00" in value:
                raise ValueError("The row has a NUL character")
            return value
        case int():
            if value not in _INT64:
                raise ValueError("The row has an integer beyond 64 bits")
            return value
        case float():
            if not math.isfinite(value):
                raise ValueError("The row has a number that is not finite")
            return value
        case Decimal():
            whole = value.to_integral_value()
            return plain_value(int(whole) if whole == value else float(value))
        case datetime():
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
        case date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case bytes():
            try:
                return plain_value(value.decode())
            except UnicodeDecodeError as error:
                raise ValueError("The row has bytes that are no text") from error
        case dict():
            return {plain_value(str(key)): plain_value(item) for key, item in value.items()}
        case list() | tuple():
            return [plain_value(item) for item in value]
        case _:
            raise ValueError(f"The row has a value of a type that is not known: {type(value).__name__}")
