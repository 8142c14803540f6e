"""CSV: the delimiter sniffed, quoted records of several lines, each bad record refused by itself."""

import csv
import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from config.files.errors import UnreadableFile
from config.files.lines import Block, Line
from config.files.rows import MAX_ROW_BYTES, TOO_LONG, Row, shown

DELIMITERS: Final = ",;\t|"
_SAMPLE_LINES: Final = 20
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")
csv.field_size_limit(MAX_ROW_BYTES)


def sniff_delimiter(lines: Sequence[str]) -> str:
    """Return the delimiter by which the first lines have most columns, the same number in each."""
    if lines and _is_separator_line(lines[0]):
        return lines[0][4]
    best, columns = ",", 1
    for delimiter in DELIMITERS:
        try:
            counts = [len(cells) for cells in csv.reader(lines, delimiter=delimiter, strict=True) if cells]
        except csv.Error:
            # The last record may be cut where the sample ends.
            counts = [len(next(csv.reader(lines[:1], delimiter=delimiter), []))]
        if counts and counts[0] > columns and counts.count(counts[0]) * 2 > len(counts):
            best, columns = delimiter, counts[0]
    return best


class Header:
    """The columns of a table, the delimiter, and the place of the first record."""

    def __init__(self, lines: Sequence[Line], delimiter: str = "") -> None:
        """Read the head of a table. Raises UnreadableFile where it has no usable header."""
        texts = [_text(line) for line in lines if line.data is not None][:_SAMPLE_LINES]
        self.delimiter = delimiter or sniff_delimiter(texts)
        records = table_records(iter(lines), self.delimiter)
        record = next(records, None)
        if record is not None and not record.problem and _is_separator_line(texts[0]):
            record = next(records, None)
        if record is None or record.problem:
            raise UnreadableFile(
                f"The header cannot be read: {record.problem if record else 'it is missing'}"
            )
        self.columns = [cell.strip() for cell in record.cells]
        self.end, self.next_line = record.end, record.next_line
        named = [column for column in self.columns if column]
        if not named:
            raise UnreadableFile("The header names no column")
        if any(map(_ADDRESS.fullmatch, named)):
            raise UnreadableFile(
                "The header has an e-mail address among its columns: it takes a first line that names them"
            )
        if twice := repeated(named):
            raise UnreadableFile(f"The header names a column twice: {', '.join(twice)}")


def repeated(names: Iterable[str]) -> list[str]:
    """Return the names that are there more than once, in order."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def _is_separator_line(text: str) -> bool:
    """Tell whether a table begins with its delimiter, as Excel writes it: `sep=;`."""
    spelled = text.rstrip("\r\n").lower()
    return len(spelled) == 5 and spelled.startswith("sep=") and is_delimiter(spelled[4])


def is_delimiter(text: str) -> bool:
    """Tell whether a text can stand between cells."""
    return len(text) == 1 and text not in '"\r\n\x00'


def table_rows(
    blocks: Iterator[Block], header: Header, are_read: Callable[[], bool] = lambda: True
) -> Iterator[Row]:
    """Yield the records after the header by column. Raises DamagedFile.

    While `are_read` says no, rows may come without their values: they are counted only.
    """
    columns = header.columns
    width = len(columns)
    for block in blocks:
        if _is_plain(block):
            yield from _plain_rows(block, header, are_read)
            continue
        lines = _Lines(block, blocks)
        for number, end, cells, problem, next_line in table_records(lines, header.delimiter):
            if problem:
                raw = {"text": cells[0], "columns": columns, "delimiter": header.delimiter} if cells else {}
                yield Row(number, end, next_line, None, problem, raw)
            elif len(cells) == width:
                yield Row(number, end, next_line, dict(zip(columns, cells, strict=True)))
            elif cells:
                yield _ragged(number, end, next_line, columns, cells)
            if lines.is_at_end(next_line):
                break


def _plain_rows(block: Block, header: Header, are_read: Callable[[], bool]) -> Iterator[Row]:
    columns, delimiter = header.columns, header.delimiter
    width, position = len(columns), block.position
    for number, piece in enumerate(block.pieces, block.number):
        position += len(piece)
        line = piece.rstrip(b"\r\n")
        if not line:
            continue
        if not are_read():
            yield Row(number, position, number + 1, None)
            continue
        cells = line.decode().split(delimiter)
        if len(cells) == width:
            yield Row(number, position, number + 1, dict(zip(columns, cells, strict=True)))
        else:
            yield _ragged(number, position, number + 1, columns, cells)


def _ragged(number: int, end: int, next_line: int, columns: list[str], cells: list[str]) -> Row:
    cause = f"The row has {len(cells)} values for {len(columns)} columns"
    return Row(number, end, next_line, None, cause, {"columns": columns, "cells": cells})


def _is_plain(block: Block) -> bool:
    """Tell whether every line is a record: it needs no care, and is read several times as fast."""
    whole = b"".join(block.pieces)
    if block.has_excess or b'"' in whole or b"\x00" in whole or max(map(len, block.pieces)) > MAX_ROW_BYTES:
        return False
    try:
        whole.decode()
    except UnicodeDecodeError:
        return False
    return block.number > 1


class _Lines:
    """The lines of a block, and of those after it as long as a record goes on."""

    def __init__(self, block: Block, blocks: Iterator[Block]) -> None:
        self._lines = block.lines()
        self._blocks = blocks
        self._next_number = block.number + len(block.pieces)

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> Line:
        while (line := next(self._lines, None)) is None:
            block = next(self._blocks)
            self._lines = block.lines()
            self._next_number = block.number + len(block.pieces)
        return line

    def is_at_end(self, next_line: int) -> bool:
        """Tell whether a block ends before a line."""
        return next_line == self._next_number


class TableRecord(NamedTuple):
    """A record: its first line, the position and the number of the line after it, its cells or its problem."""

    number: int
    end: int
    cells: list[str]
    problem: str
    next_line: int


def table_records(lines: Iterator[Line], delimiter: str) -> Iterator[TableRecord]:
    """Yield records. After one that cannot be read, reading goes on with its second line."""
    feed = _Feed(lines)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.taken.clear()
        feed.problem = ""
        problem = ""
        cells: list[str] = []
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = _problem(error)
        except _RecordTooLong as error:
            problem = str(error)
        if not feed.taken:
            return
        first, last = feed.taken[0], feed.taken[-1]
        if problem:
            feed.return_rest()
            reader = csv.reader(feed, delimiter=delimiter, strict=True)
            last = first
        if problem := problem or feed.problem:
            cells = [shown(b"".join(line.data or b"" for line in feed.taken))] if first.data else []
        yield TableRecord(first.number, last.end, cells, problem, last.number + 1)


class _RecordTooLong(Exception):
    """A record beyond the bound."""


class _Feed:
    """The lines that the reader takes for one record; those after its first can be given back."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._returned: deque[Line] = deque()
        self.taken: list[Line] = []
        self.problem = ""
        self._bytes = 0

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = self._returned.popleft() if self._returned else next(self._lines)
        data = line.data
        self._bytes = len(data or b"") + (self._bytes if self.taken else 0)
        self.taken.append(line)
        if data is None:
            raise _RecordTooLong(TOO_LONG)
        if self._bytes > MAX_ROW_BYTES:
            raise _RecordTooLong(
                f"The record goes on for more than {MAX_ROW_BYTES:,} bytes: a quote may be open"
            )
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            self.problem = (
                self.problem
                or f"Line {line.number} is not valid UTF-8, at byte {error.start + 1} of it"
                ": `encoding` can say what the file is, as in windows-1252"
            )
            text = data.decode("utf-8", "replace")
        if "\x00" in text:
            self.problem = self.problem or f"Line {line.number} has a NUL character"
        return text.removeprefix("\ufeff") if line.number == 1 else text

    def return_rest(self) -> None:
        """Return all lines but the first; they are read again as records of their own."""
        self._returned.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]


def _text(line: Line) -> str:
    return (line.data or b"").decode("utf-8", "replace").removeprefix("\ufeff")


def _problem(error: Exception) -> str:
    text = str(error)
    if text == "unexpected end of data":
        return "A quote is opened and never closed"
    return f"The quoting is wrong: {text}"
