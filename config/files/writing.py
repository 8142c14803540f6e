"""Write rows to a file in constant memory: CSV, JSON Lines, gzip of both, Parquet."""

import csv
import gzip
import io
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import orjson

from config.files.parquet import load_pyarrow
from config.files.reading import STANDARD_INPUT as STANDARD_OUTPUT
from config.files.reading import Form

_GROUP_ROWS: Final = 20_000
"""Rows of a row group of Parquet."""


def form_of(path: str) -> Form:
    """Return the form that a file's name says; JSON Lines where it says none."""
    suffix = Path(path.removesuffix(".gz")).suffix.lower()
    return "csv" if suffix in (".csv", ".tsv") else "parquet" if suffix == ".parquet" else "jsonl"


def write_rows(path: str, form: Form, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows, and put the file in its place once all is written. Returns how many.

    Texts stay texts, times are ISO 8601 in UTC, objects and lists are JSON. The file is for its owner only.
    Raises OSError, UnreadableFile.
    """
    counted = _Counted(rows)
    with _opened(path) as file:
        if form == "parquet":
            _write_parquet(file, columns, counted)
        elif form == "csv":
            _write_csv(file, columns, counted, "\t" if path.removesuffix(".gz").endswith(".tsv") else ",")
        else:
            for row in counted:
                line = {name: _plain(value) for name, value in row.items() if value not in (None, "", [], {})}
                file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
    return counted.count


class _Counted:
    """Rows that are counted as they pass."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for row in self._rows:
            self.count += 1
            yield row


@contextmanager
def _opened(path: str) -> Iterator[IO[bytes]]:
    """Open standard output, or a draft beside the file, which replaces it at the end."""
    if path == STANDARD_OUTPUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    target = Path(path)
    if target.exists() and not target.is_file():
        # A pipe or a device: nothing is put in its place.
        with target.open("wb") as file, _packed(file, target) as content:
            yield content
        return
    # Of its own, for others may write the same file; readable by its owner only.
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name[:100]}.", dir=target.parent)
    draft = Path(name)
    try:
        with open(descriptor, "wb") as file, _packed(file, target) as content:
            yield content
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def _packed(file: IO[bytes], target: Path) -> Iterator[IO[bytes]]:
    """Yield what packs into a file where its name says so, else the file."""
    if target.suffix != ".gz":
        yield file
        return
    with gzip.GzipFile(fileobj=file, mode="wb", filename="", compresslevel=6) as packed:
        yield packed  # type: ignore[misc]  # it is written to only


def _write_csv(
    file: IO[bytes], columns: Sequence[str], rows: Iterable[Mapping[str, Any]], delimiter: str
) -> None:
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=False)
    # Of the characters of a line's end csv quotes those that it writes itself.
    writer = csv.writer(text, delimiter=delimiter, lineterminator="\r\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([_cell(row.get(column)) for column in columns])
    text.flush()
    text.detach()


def _write_parquet(file: IO[bytes], columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    arrow = load_pyarrow()
    schema = arrow.schema([(column, arrow.string()) for column in columns])
    with arrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        remaining = iter(rows)
        while group := list(islice(remaining, _GROUP_ROWS)):
            cells = ([_cell(row.get(column)) or None for row in group] for column in columns)
            arrays = [arrow.array(column, arrow.string()) for column in cells]
            writer.write_table(arrow.table(arrays, schema=schema))


def _cell(value: Any) -> str:
    """Return a value as a text: objects and lists as JSON, what is not there as nothing."""
    if value is None or value == [] or value == {}:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return _time(value)
    return orjson.dumps(value).decode()


def _plain(value: Any) -> Any:
    return _time(value) if isinstance(value, datetime) else value


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
