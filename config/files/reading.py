"""Open a file of rows, whatever its form: CSV, JSON Lines, gzip of both, Parquet; a path or standard input."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import IO, Final, Literal, Self, cast

from config.files.errors import DamagedFile, UnreadableFile
from config.files.json_lines import json_rows
from config.files.lines import Block, blocks_after, lines_of, read_blocks
from config.files.parquet import MAGIC as PARQUET
from config.files.parquet import ParquetRows
from config.files.rows import MAX_ROW_BYTES, Place, Row
from config.files.streams import (
    BLOCK_BYTES,
    GZIP,
    ByteStream,
    Chained,
    Clipped,
    Gunzipped,
    Recoded,
    encoding_of,
)
from config.files.tables import Header, is_delimiter, table_rows

Form = Literal["csv", "jsonl", "parquet"]
_HEAD_LINES: Final = 40
STANDARD_INPUT: Final = "-"
_TAKEN: Final = "it takes CSV, JSON Lines, gzip of both, or Parquet"
_OTHERS: Final = (
    (b"PK\x03\x04", "a zip archive or a workbook of Excel"),
    (b"\xd0\xcf\x11\xe0", "a workbook of Excel"),
    (b"BZh91AY&SY", "packed by bzip2"),
    (b"\xfd7zXZ\x00", "packed by xz"),
    (b"7z\xbc\xaf", "an archive of 7-Zip"),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard"),
)
"""How files begin that somebody may take for one of rows."""


def open_file(path: str, *, form: Form | None = None, encoding: str = "", delimiter: str = "") -> "InputFile":
    """Return a file that is read as a stream. Raises UnreadableFile.

    `form`, `encoding` and `delimiter` are sniffed where they are not given.
    """
    return InputFile(path, form, encoding, delimiter)


class InputFile:
    """A file of rows, a context manager that closes it. A stream, standard input or a pipe, can be read once."""

    def __init__(
        self, path: str, form: Form | None, encoding: str, delimiter: str, *, file: IO[bytes] | None = None
    ) -> None:
        """`file`: one that is open already, and can be read at any place; `path` only names it then."""
        if delimiter and not is_delimiter(delimiter):
            raise UnreadableFile("A delimiter is one character, and neither a quote nor the end of a line")
        self.path = path
        self._is_standard_input = path == STANDARD_INPUT and file is None
        self._file: IO[bytes]
        try:
            if file is not None:
                file.seek(0)
                self._file, self.is_stream = file, False
            else:
                self._file = sys.stdin.buffer if self._is_standard_input else Path(path).open("rb")  # noqa: SIM115
                self.is_stream = self._is_standard_input or not Path(path).is_file()
            # What is added while it is read belongs to the next import.
            self._length = 0 if self.is_stream else self._file.seek(0, os.SEEK_END)
            if not self.is_stream:
                self._file.seek(0)
            head = self._file.read(BLOCK_BYTES)
        except OSError as error:
            raise UnreadableFile(f"{path} cannot be read: {error.strerror or error}") from error
        except ValueError as error:
            raise UnreadableFile(f"{path!r:.200} cannot be read: {error}") from error
        try:
            self._recognise(head, form, encoding)
        except UnreadableFile:
            self.close()
            raise
        self._delimiter = delimiter
        self.are_rows_read = True
        """While it is false, rows may come without their values: only their places matter."""

    def _recognise(self, head: bytes, form: Form | None, encoding: str) -> None:
        self._is_packed = head.startswith(GZIP)
        self._head = head
        start = _unpacked_head(head) if self._is_packed else head
        _refuse_others(start, self._is_packed)
        self._encoding = encoding_of(start, encoding)
        self.form: Form = form or _form_of(start, self._encoding)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        if not self._is_standard_input:
            self._file.close()

    def reopened(self) -> "InputFile":
        """Return the same file, opened anew: read at a place of its own. Raises UnreadableFile."""
        other = InputFile(self.path, self.form, self._encoding, self._delimiter)
        other._length = self._length
        return other

    @property
    def encoding(self) -> str:
        """The encoding of its text, "" for UTF-8."""
        return self._encoding

    @property
    def size(self) -> int | None:
        """What positions go up to, bytes or rows of Parquet, for progress. Raises UnreadableFile."""
        if self.is_stream or self._is_packed:
            return None
        if self.form == "parquet":
            return ParquetRows(self._seekable()).count
        if self._encoding:
            return None
        return self._length

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the content. A stream has none: it can be read once only. Raises DamagedFile."""
        return self.fingerprints([])[self._length]

    def fingerprints(self, lengths: Iterable[int]) -> dict[int, str]:
        """Return by length the hash of so many first bytes, and that of all. Raises DamagedFile."""
        found, position = {}, 0
        digest = hashlib.blake2b(digest_size=16)
        with Path(self.path).open("rb") as file:
            content = Clipped(file, self._length)
            for length in sorted({*(length for length in lengths if length < self._length), self._length}):
                while block := content.read(min(length - position, BLOCK_BYTES)):
                    digest.update(block)
                    position += len(block)
                found[length] = digest.hexdigest()
        return found

    def last_line(self, place: Place) -> Place:
        """Return where the line before a place begins if that line had no end there, else the place."""
        self._file.seek(max(place.position - MAX_ROW_BYTES, 0))
        before = self._file.read(min(place.position, MAX_ROW_BYTES))
        if not before or before.endswith((b"\n", b"\r")):
            return place
        return Place(place.position - len(before.splitlines()[-1]), place.line - 1)

    def rows(self, start: Place) -> Iterator[Row]:
        """Yield the rows from a place on. Raises DamagedFile, UnreadableFile."""
        if self.form == "parquet":
            yield from ParquetRows(self._seekable()).rows(start)
        elif self.form == "jsonl":
            yield from json_rows(lines_of(self._blocks(start)), lambda: self.are_rows_read)
        else:
            yield from self._table(start)

    def _table(self, start: Place) -> Iterator[Row]:
        """Yield rows of a table, whose header is read first wherever reading goes on."""
        blocks = self._blocks(Place())
        first = next(blocks, None)
        if first is None:
            return
        header = Header(list(islice(first.lines(), _HEAD_LINES)), self._delimiter)
        place = max(start, Place(header.end, header.next_line))
        if self._can_seek:
            blocks = self._blocks(place)
        else:
            blocks = blocks_after(chain([first], blocks), place.position)
        yield from table_rows(blocks, header, lambda: self.are_rows_read)

    @property
    def _can_seek(self) -> bool:
        return not (self.is_stream or self._is_packed or self._encoding)

    def _blocks(self, start: Place) -> Iterator[Block]:
        if self._can_seek:
            self._file.seek(start.position)
            return read_blocks(Clipped(self._file, self._length), start)
        return blocks_after(read_blocks(self._content(), Place()), start.position)

    def _content(self) -> ByteStream:
        """Return the stream from its beginning, with gzip and encoding undone."""
        stream: ByteStream
        if self.is_stream:
            stream = Chained(self._head, self._file)
        else:
            self._file.seek(0)
            stream = Clipped(self._file, self._length)
        if self._is_packed:
            stream = Gunzipped(stream)
        return Recoded(stream, self._encoding) if self._encoding else stream

    def _seekable(self) -> IO[bytes]:
        if not self.is_stream:
            self._file.seek(0)
            return self._file
        spooled = tempfile.TemporaryFile()  # noqa: SIM115  (the reader closes it)
        spooled.write(self._head)
        shutil.copyfileobj(self._file, spooled)
        spooled.seek(0)
        return cast(IO[bytes], spooled)


class _Empty:
    """A stream that is over."""

    def read(self, size: int, /) -> bytes:
        """Return nothing."""
        return b""


def _unpacked_head(head: bytes) -> bytes:
    try:
        return Gunzipped(Chained(head, _Empty())).read(BLOCK_BYTES)
    except DamagedFile as error:
        raise UnreadableFile(error.message) from error


def _refuse_others(head: bytes, is_packed: bool) -> None:
    """Raise UnreadableFile where a file is known to be of another kind, and say which."""
    if is_packed and head.startswith((GZIP, PARQUET)):
        raise UnreadableFile(f"The file is packed twice, or gzip of Parquet; {_TAKEN}")
    for magic, kind in _OTHERS:
        if head.startswith(magic):
            raise UnreadableFile(f"The file is {kind}; {_TAKEN}")


def _form_of(head: bytes, encoding: str) -> Form:
    if head.startswith(PARQUET):
        return "parquet"
    text = head.decode(encoding or "utf-8", "replace").removeprefix("\ufeff").lstrip()
    if text.startswith("["):
        raise UnreadableFile("The file is an array of JSON; it takes JSON Lines, an object a line")
    return "jsonl" if text.startswith("{") else "csv"
