"""Parquet, by pyarrow, which the extra `parquet` installs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib import import_module
from typing import IO, Any, Final
from uuid import UUID

from config.files.errors import DamagedFile, UnreadableFile
from config.files.parquet_limits import open_reader, plan_group, row_sizes
from config.files.rows import MAX_ROW_BYTES, MAX_SHOWN, Place, Row
from config.files.tables import repeated

MAGIC: Final = b"PAR1"
_AT_ONCE: Final = 8 * MAX_ROW_BYTES
"""What becomes Python's at once."""
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
        self._content = file
        try:
            self._file = open_reader(file)
        except (self._arrow.ArrowException, OSError) as error:
            raise UnreadableFile(f"The Parquet file cannot be read: {error}") from error
        if twice := repeated(self._file.schema_arrow.names):
            raise UnreadableFile(f"The file has a column twice: {', '.join(twice)}")

    @property
    def count(self) -> int:
        """How many rows there are."""
        return int(self._file.metadata.num_rows)

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
                plan = plan_group(self._content, self._file, group, number + 1)
                reader = open_reader(self._content, self._file.metadata, plan.dictionaries)
                for batch in reader.iter_batches(plan.rows, row_groups=[group]):
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
        sizes = row_sizes(batch)
        for place, (size, values) in enumerate(
            zip(sizes, self._values(batch, sizes), strict=True), number + 1
        ):
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
                yield Row(place, place, place + 1, plain, size=size)

    def _values(self, batch: Any, sizes: Sequence[int]) -> Iterator[Mapping[str, Any] | Exception]:
        """Yield the values of rows; where one of them is nothing that Python has, the error in its place."""
        begin = 0
        while begin < len(sizes):
            if sizes[begin] > MAX_ROW_BYTES:
                yield ValueError(_TOO_LONG)
                begin += 1
                continue
            end, total = begin, 0
            while end < len(sizes) and sizes[end] <= MAX_ROW_BYTES and total <= _AT_ONCE:
                total += sizes[end]
                end += 1
            yield from self._values_at_once(batch.slice(begin, end - begin))
            begin = end

    def _values_at_once(self, batch: Any) -> Iterator[Mapping[str, Any] | Exception]:
        try:
            yield from self._without_dictionaries(batch).to_pylist(maps_as_pydicts="strict")
        except _NO_VALUE:
            for place in range(batch.num_rows):
                try:
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
