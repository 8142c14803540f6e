"""Parquet, by pyarrow, which the extra `parquet` installs."""

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import import_module
from typing import IO, Any, Final
from uuid import UUID

from config.files.errors import DamagedFile, UnreadableFile
from config.files.rows import MAX_ROW_BYTES, MAX_SHOWN, Place, Row
from config.files.tables import repeated

MAGIC: Final = b"PAR1"
_BATCH_ROWS: Final = 2_000
_DECODED_BYTES: Final = 64 * MAX_ROW_BYTES
"""What is decoded at once, about."""
_AT_ONCE: Final = 8 * MAX_ROW_BYTES
"""Texts of a batch that become Python's at once; of longer ones the rows are taken one by one."""
_TOO_LONG: Final = f"The row is longer than {MAX_ROW_BYTES:,} bytes"
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
            # Their values are decoded once, not for each row: a file of 2 kB may spell a gigabyte.
            if texts := self._texts_by_dictionary():
                self._file = self._arrow.parquet.ParquetFile(file, pre_buffer=False, read_dictionary=texts)
        except (self._arrow.ArrowException, OSError) as error:
            raise UnreadableFile(f"The Parquet file cannot be read: {error}") from error
        if twice := repeated(self._file.schema_arrow.names):
            raise UnreadableFile(f"The file has a column twice: {', '.join(twice)}")

    def _texts_by_dictionary(self) -> list[str]:
        names = set(self._file.schema_arrow.names)
        groups = map(self._file.metadata.row_group, range(self._file.num_row_groups))
        columns = [group.column(place) for group in groups for place in range(group.num_columns)]
        return sorted(
            {
                column.path_in_schema
                for column in columns
                if column.path_in_schema in names
                and column.physical_type == "BYTE_ARRAY"
                and column.has_dictionary_page
            }
        )

    def _rows_at_once(self, group: Any) -> int:
        """Return how many rows of a row group are decoded at once. Raises UnreadableFile for very long ones."""
        columns = [group.column(place) for place in range(group.num_columns)]
        size: int = sum(max(column.total_uncompressed_size, 8 * column.num_values) for column in columns)
        row_bytes: int = size // max(group.num_rows, 1)
        if row_bytes > _DECODED_BYTES:
            raise UnreadableFile(
                f"The file has rows of some {row_bytes:,} bytes; a row may have {MAX_ROW_BYTES:,}"
            )
        return min(max(_DECODED_BYTES // max(row_bytes, 1), 1), _BATCH_ROWS)

    def rows(self, start: Place) -> Iterator[Row]:
        """Yield rows after a position; row groups before it are not read. Raises DamagedFile."""
        number = 0
        for group in range(self._file.num_row_groups):
            metadata = self._file.metadata.row_group(group)
            count = metadata.num_rows
            if number + count <= start.position:
                number += count
                continue
            try:
                for batch in self._file.iter_batches(self._rows_at_once(metadata), row_groups=[group]):
                    yield from self._batch_rows(batch, number, start)
                    number += batch.num_rows
            except (self._arrow.ArrowException, OSError) as error:
                raise DamagedFile(f"The Parquet file is damaged after row {number:,}: {error}") from error

    def _batch_rows(self, batch: Any, number: int, start: Place) -> Iterator[Row]:
        if number + batch.num_rows <= start.position:
            return
        batch = batch.cast(
            self._arrow.schema([self._readable_field(field) for field in batch.schema]), safe=False
        )
        for place, values in enumerate(self._values(batch), number + 1):
            if place <= start.position:
                continue
            try:
                if isinstance(values, Exception):
                    raise values
                plain = {
                    plain_value(name): plain_value(value)
                    for name, value in values.items()
                    if value is not None
                }
            except _NO_VALUE as error:
                shown = "" if isinstance(values, Exception) else repr(values)[:MAX_SHOWN].replace("\x00", "")
                cause = (
                    str(error)
                    if type(error) is ValueError
                    else f"The row has a value that cannot be read: {error}"
                )
                yield Row(place, place, place + 1, None, cause, {"text": shown} if shown else {})
            else:
                yield Row(place, place, place + 1, plain)

    def _values(self, batch: Any) -> Iterator[Mapping[str, Any] | Exception]:
        """Yield the values of rows; where one of them is nothing that Python has, the error in its place."""
        sizes = self._sizes(batch)
        try:
            if sum(sizes) > _AT_ONCE or max(sizes, default=0) > MAX_ROW_BYTES:
                raise ValueError(_TOO_LONG)
            yield from self._without_dictionaries(batch).to_pylist(maps_as_pydicts="strict")
        except _NO_VALUE:
            for place in range(batch.num_rows):
                try:
                    if sizes and sizes[place] > MAX_ROW_BYTES:
                        raise ValueError(_TOO_LONG)
                    yield batch.slice(place, 1).to_pylist(maps_as_pydicts="strict")[0]
                except _NO_VALUE as error:
                    yield error

    def _without_dictionaries(self, batch: Any) -> Any:
        """Return a batch of which each value stands by itself, which becomes Python's sooner."""
        fields = [
            field.with_type(field.type.value_type) if self._arrow.types.is_dictionary(field.type) else field
            for field in batch.schema
        ]
        return batch.cast(self._arrow.schema(fields))

    def _sizes(self, batch: Any) -> list[int]:
        """Return the bytes of each row's texts, none where all are short."""
        compute, types = import_module("pyarrow.compute"), self._arrow.types
        lengths = []
        for column in batch.columns:
            if types.is_dictionary(column.type) and _has_bytes(types, column.type.value_type):
                lengths.append(compute.take(compute.binary_length(column.dictionary), column.indices))
            elif _has_bytes(types, column.type):
                lengths.append(compute.binary_length(column))
        if sum(compute.sum(each).as_py() or 0 for each in lengths) <= MAX_ROW_BYTES:
            return []
        by_column = [each.fill_null(0).to_pylist() for each in lengths]
        return [sum(row) for row in zip(*by_column, strict=True)]

    def _readable_field(self, field: Any) -> Any:
        return field.with_type(self._readable(field.type))

    def _readable(self, type_: Any) -> Any:
        """Return a type without nanoseconds, which Python's times do not have."""
        types = self._arrow.types
        if types.is_timestamp(type_) and type_.unit == "ns":
            return self._arrow.timestamp("us", type_.tz)
        if types.is_time64(type_) and type_.unit == "ns":
            return self._arrow.time64("us")
        if types.is_struct(type_):
            return self._arrow.struct([self._readable_field(field) for field in type_])
        if types.is_list(type_):
            return self._arrow.list_(self._readable_field(type_.value_field))
        if types.is_large_list(type_):
            return self._arrow.large_list(self._readable_field(type_.value_field))
        if types.is_map(type_):
            return self._arrow.map_(type_.key_field, self._readable_field(type_.item_field))
        return type_


def _has_bytes(types: Any, type_: Any) -> bool:
    kinds = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_kind(type_) for is_kind in kinds)


_NO_VALUE: Final = (ValueError, OverflowError, LookupError)
"""What is raised for values that Python or JSON do not have: bytes that are no text, times after the year 9999."""


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
