"""How a row group of Parquet is read in little memory: how many rows at once, and which texts by their dictionary."""

import math
from collections.abc import Iterable, Sequence
from functools import reduce
from importlib import import_module
from typing import IO, Any, Final, NamedTuple

from config.files.errors import UnreadableFile
from config.files.parquet_pages import Page, read_pages
from config.files.rows import MAX_ROW_BYTES

BATCH_ROWS: Final = 2_000
_DECODED_BYTES: Final = 16 * MAX_ROW_BYTES
"""What is decoded at once, about."""
_PAGE_BYTES: Final = 128 * MAX_ROW_BYTES
"""Largest pages of all columns together: the reader holds one of each."""
_LIST_BYTES: Final = 128 * MAX_ROW_BYTES
"""What the lists of a row group may take: how they are spread over its rows is not known before."""
_LEVEL_BYTES: Final = 4
"""What tells of a list's value where it belongs."""
_READ_BYTES: Final = 1_048_576
"""What of a column is read from the file at once; without it all that a row group has of it."""
_VALUE_BYTES: Final = 8
_BY_DICTIONARY: Final = frozenset({2, 8})
_DELTA_BYTE_ARRAY: Final = 7


def open_reader(file: IO[bytes], metadata: Any = None, dictionaries: Sequence[str] = ()) -> Any:
    """Return a ParquetFile, of which some columns are read by their dictionaries."""
    return import_module("pyarrow.parquet").ParquetFile(
        file,
        metadata=metadata,
        read_dictionary=list(dictionaries) or None,
        pre_buffer=False,
        buffer_size=_READ_BYTES,
    )


class GroupPlan(NamedTuple):
    """How a row group is read."""

    rows: int
    """Rows that are decoded at once."""
    dictionaries: list[str]
    """Columns of texts whose values are decoded once, not for each row: a file of 2 kB may spell a gigabyte."""


def plan_group(file: IO[bytes], reader: Any, group: int, number: int) -> GroupPlan:
    """Return how a row group, which begins with row `number`, is read by a ParquetFile.

    Raises UnreadableFile where that would take too much memory, DamagedFile.
    """
    metadata = reader.metadata.row_group(group)
    columns = [_Column(file, reader, group, place) for place in range(metadata.num_columns)]
    row_bytes = math.ceil(sum(column.row_bytes for column in columns))
    for size, kind, most in (
        (sum(column.page_bytes for column in columns), "pages", _PAGE_BYTES),
        (sum(column.list_bytes for column in columns), "lists", _LIST_BYTES),
        (row_bytes, "rows", _DECODED_BYTES),
    ):
        if size > most:
            raise UnreadableFile(
                f"From row {number:,} on the file has {kind} of some {size:,} bytes, and {most:,} can be read: "
                "write smaller row groups and pages"
            )
    rows = min(max(_DECODED_BYTES // max(row_bytes, 1), 1), BATCH_ROWS)
    return GroupPlan(rows, [column.path for column in columns if column.is_by_dictionary])


class _Column:
    """What a column of a row group takes, in bytes: `page_bytes` of its largest page and its dictionary."""

    def __init__(self, file: IO[bytes], reader: Any, group: int, place: int) -> None:
        self._file, self._reader, self._group = file, reader, group
        metadata = reader.metadata.row_group(group)
        chunk, schema = metadata.column(place), reader.schema.column(place)
        self.path = chunk.path_in_schema
        is_list = schema.max_repetition_level > 0
        is_text = chunk.physical_type == "BYTE_ARRAY"
        width = max(schema.length, _VALUE_BYTES)
        pages = list(read_pages(file, chunk))
        data = [page for page in pages if not page.is_dictionary]
        dictionary = sum(page.size for page in pages if page.is_dictionary)
        self.page_bytes = dictionary + max((page.size for page in data), default=0)
        self.is_by_dictionary = is_text and all(page.encoding in _BY_DICTIONARY for page in data)
        if is_text and not self.is_by_dictionary and any(page.encoding in _BY_DICTIONARY for page in data):
            width = self._longest(data[0], dictionary)
        sizes = [_decoded_bytes(page, width) for page in data]
        values = sum(page.values for page in data)
        self.list_bytes = (sum(sizes) + _LEVEL_BYTES * values) * is_list
        self.row_bytes: float = (
            self.list_bytes / max(metadata.num_rows, 1)
            if is_list
            else max((size / max(page.values, 1) for size, page in zip(sizes, data, strict=True)), default=0)
        )

    def _longest(self, first: Page, dictionary: int) -> int:
        """Return the bytes of the longest text in a dictionary that is not of all values.

        Read by it such a column would take ever more memory: the values that are not in it come to it.
        """
        if dictionary * BATCH_ROWS <= _DECODED_BYTES or first.encoding not in _BY_DICTIONARY:
            return dictionary
        reader = open_reader(self._file, self._reader.metadata, [self.path])
        (values,) = next(reader.iter_batches(1, row_groups=[self._group], columns=[self.path])).columns
        while not hasattr(values, "dictionary"):
            values = values.field(0) if hasattr(values, "field") else values.values
        longest = import_module("pyarrow.compute").max(
            import_module("pyarrow.compute").binary_length(values.dictionary)
        )
        return longest.as_py() or dictionary


def _decoded_bytes(page: Page, width: int) -> int:
    """Return what a page takes once it is decoded, at most."""
    if page.encoding == _DELTA_BYTE_ARRAY:
        # Each value may begin as the one before, which may be all of the page.
        return page.size * page.values
    return max(page.size, page.values * width)


def row_sizes(batch: Any) -> list[int]:
    """Return the bytes of each row of a batch, about."""
    return _added(map(_value_sizes, batch.columns), batch.num_rows).to_pylist()  # type: ignore[no-any-return]


def _value_sizes(array: Any) -> Any:
    """Return the bytes of each value of an array; of a list, of all that is in it."""
    arrow, compute = import_module("pyarrow"), import_module("pyarrow.compute")
    types, type_ = arrow.types, array.type
    if isinstance(array, arrow.ExtensionArray):
        return _value_sizes(array.storage)
    if types.is_dictionary(type_):
        return compute.take(_value_sizes(array.dictionary), array.indices).fill_null(0)
    if has_bytes(type_):
        return compute.binary_length(array).cast(arrow.int64()).fill_null(0)
    if types.is_struct(type_):
        return _added(map(_value_sizes, array.flatten()), len(array))
    if types.is_map(type_):
        return _added([_list_sizes(array, array.keys), _list_sizes(array, array.items)], len(array))
    if types.is_list(type_) or types.is_large_list(type_):
        return _list_sizes(array, array.values)
    if types.is_fixed_size_list(type_):
        return _value_sizes(array.cast(arrow.list_(type_.value_type)))
    return _repeated(_width(type_), len(array))


def _list_sizes(array: Any, values: Any) -> Any:
    arrow, compute, offsets = import_module("pyarrow"), import_module("pyarrow.compute"), array.offsets
    factor = 1
    if arrow.types.is_primitive(values.type):
        factor = _VALUE_BYTES
    else:
        ends = arrow.concat_arrays([_repeated(0, 1), compute.cumulative_sum(_value_sizes(values))])
        offsets = compute.take(ends, offsets)
    lengths = compute.subtract(offsets.slice(1), offsets.slice(0, len(array))).cast(arrow.int64())
    return compute.multiply(lengths, factor)


def _width(type_: Any) -> int:
    is_wide = import_module("pyarrow").types.is_fixed_size_binary(type_)
    return max(type_.byte_width, _VALUE_BYTES) if is_wide else _VALUE_BYTES


def _repeated(number: int, count: int) -> Any:
    arrow = import_module("pyarrow")
    return arrow.repeat(arrow.scalar(number, arrow.int64()), count)


def _added(sizes: Iterable[Any], count: int) -> Any:
    return reduce(import_module("pyarrow.compute").add, sizes, _repeated(0, count))


def has_bytes(type_: Any) -> bool:
    """Tell whether values of a type are texts or bytes of any length."""
    types = import_module("pyarrow").types
    kinds = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_kind(type_) for is_kind in kinds)
