"""Pages of a Parquet file: what their headers say of them, so that nothing is decoded that takes too much memory.

The reader decompresses a page whole, and pyarrow does not tell how large one is. Headers are structs of Thrift's
compact protocol: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

import struct
from collections.abc import Iterator
from typing import IO, Any, Final, NamedTuple

from config.files.errors import DamagedFile

_READ_BYTES: Final = 4_096
_MOST_HEADER_BYTES: Final = 16 * 1_048_576
"""As Arrow has it."""
_MOST_DEPTH: Final = 8
_TYPE, _BYTES, _PACKED_BYTES = 1, 2, 3
_HEADERS: Final = {0: 5, 2: 7, 3: 8}
"""By the page's type: the field with the header of a data page, of a dictionary, of a data page of version 2."""
_DICTIONARY: Final = 2
_ENCODING: Final = {0: 2, 2: 2, 3: 4}


class Page(NamedTuple):
    """A page: its bytes once decompressed, its values, its encoding by number, and whether it is a dictionary."""

    size: int
    values: int
    encoding: int
    is_dictionary: bool


def read_pages(file: IO[bytes], column: Any) -> Iterator[Page]:
    """Yield the pages of a column chunk (its metadata) of a file. Raises DamagedFile."""
    position = column.data_page_offset
    if column.has_dictionary_page and 0 < (column.dictionary_page_offset or 0) < position:
        position = column.dictionary_page_offset
    end = position + column.total_compressed_size
    while position < end:
        header, length = _header(file, position)
        kind, size = header.get(_TYPE, -1), header.get(_BYTES, -1)
        own = header.get(_HEADERS.get(kind, -1), {})
        packed = header.get(_PACKED_BYTES, -1)
        if size < 0 or packed < 0:
            raise DamagedFile(f"The Parquet file is damaged at byte {position:,}")
        if own:
            yield Page(size, own.get(1, 0), own.get(_ENCODING[kind], 0), kind == _DICTIONARY)
        position += length + packed


def _header(file: IO[bytes], position: int) -> tuple[dict[int, Any], int]:
    """Return the fields of a page's header, and its length."""
    wanted = _READ_BYTES
    while True:
        file.seek(position)
        data = file.read(wanted)
        reader = _Reader(data)
        try:
            return reader.fields(), reader.place
        except (IndexError, struct.error) as error:
            # Statistics in it may be long.
            if len(data) < wanted or wanted >= _MOST_HEADER_BYTES:
                raise DamagedFile(f"The Parquet file is damaged at byte {position:,}") from error
            wanted *= 16


class _Reader:
    """Reads structs. Raises IndexError where the bytes end early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.place = 0

    def fields(self, depth: int = 0) -> dict[int, Any]:
        """Return the values of a struct by the numbers of its fields; texts and lists are passed over."""
        if depth > _MOST_DEPTH:
            raise IndexError
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 0x0F
            number = number + delta if delta else self._signed()
            found[number] = kind == 1 if kind in (1, 2) else self._value(kind, depth)
        return found

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2 | 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._signed()
            case 7:
                return self._skip(8)
            case 8:
                return self._skip(self._varint())
            case 9 | 10:
                head = self._byte()
                count = self._varint() if head >> 4 == 15 else head >> 4
                for _ in range(count):
                    self._value(head & 0x0F, depth + 1)
                return None
            case 12:
                return self.fields(depth + 1)
        raise IndexError

    def _skip(self, size: int) -> None:
        self.place += size
        if self.place > len(self._data):
            raise IndexError

    def _byte(self) -> int:
        byte = self._data[self.place]
        self.place += 1
        return byte

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def _signed(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
