"""Lines of a file of refused rows: the row that each holds once somebody mended it, under its key of before."""

import re
from collections.abc import Mapping
from typing import Any, Final

from rest_framework.exceptions import ParseError

from config.files.errors import RowRefused
from config.files.lines import Line
from config.files.rows import Row
from config.files.tables import is_delimiter, table_records
from config.http.json import parse_json

_ALWAYS: Final = frozenset({"line", "cause", "key"})
_KEYS: Final = _ALWAYS | {"row", "text", "columns", "cells", "delimiter"}
_NEEDS: Final = "It needs `row`, an object, or as many `cells` as `columns`, or a `text` that can be read"
_BROKEN_BYTE: Final = re.compile(r"\\x(?:00|[89a-f][0-9a-f])")
"""How the file writes bytes that are no text."""


def is_refused_line(value: Mapping[str, Any]) -> bool:
    """Tell whether an object is a line of a file of refused rows."""
    return value.keys() >= _ALWAYS and value.keys() <= _KEYS


def mended_row(line: Line, value: Mapping[str, Any]) -> Row:
    """Return the row that a line of a refused file holds, or why it is still none."""
    key = value["key"] if isinstance(value["key"], str) else ""
    try:
        return Row(line.number, line.end, line.number + 1, _values(value), key=key)
    except RowRefused as error:
        cause = f"The refused row is not mended. {error.message}"
        raw = {name: value[name] for name in ("text", "columns", "cells", "delimiter") if name in value}
        return Row(line.number, line.end, line.number + 1, None, cause, raw, key)


def _values(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a refused line says now: a row, cells, or the text of a line. Raises RowRefused."""
    row, text, columns, cells = (value.get(name) for name in ("row", "text", "columns", "cells"))
    if isinstance(row, dict):
        return row
    if isinstance(columns, list) and isinstance(cells, list):
        return _by_column(columns, cells)
    if not isinstance(text, str):
        raise RowRefused(_NEEDS)
    if isinstance(columns, list):
        return _by_column(columns, _cells(text, value.get("delimiter")))
    return json_object(text.encode("utf-8", "surrogatepass"))


def json_object(data: bytes) -> dict[str, Any]:
    """Return the object of a line, with the checks of a request's body. Raises RowRefused."""
    try:
        value = parse_json(data)
    except ParseError as error:
        raise RowRefused(str(error.detail).replace("The body", "The line").rstrip(".")) from error
    if not isinstance(value, dict):
        raise RowRefused("The line is no object of JSON")
    return value


def _cells(text: str, delimiter: Any) -> list[str]:
    """Return the cells of a line of CSV. Raises RowRefused."""
    if broken := _BROKEN_BYTE.search(text):
        raise RowRefused(f"Its `text` still has {broken.group()} where a character was meant")
    if not (isinstance(delimiter, str) and is_delimiter(delimiter)):
        delimiter = ","
    # No line is the first: a byte order mark within it stays.
    lines = (Line(2, 0, piece) for piece in text.encode("utf-8", "surrogatepass").splitlines(keepends=True))
    records = list(table_records(lines, delimiter))
    if len(records) != 1:
        raise RowRefused(f"Its `text` has {len(records)} rows")
    if records[0].problem:
        raise RowRefused(records[0].problem)
    return records[0].cells


def _by_column(columns: list[Any], cells: list[Any]) -> dict[str, Any]:
    if len(columns) != len(cells):
        raise RowRefused(f"The row has {len(cells)} values for {len(columns)} columns")
    return dict(zip(map(str, columns), cells, strict=True))
