"""JSON Lines: an object a line, with the checks of a request's body."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from rest_framework.exceptions import ParseError

from config.files.lines import Line
from config.files.rows import MAX_ROW_BYTES, MAX_SHOWN, Row
from config.http.json import parse_json

TOO_LONG: Final = f"The line is longer than {MAX_ROW_BYTES:,} bytes"
_NOT_MENDED: Final = (
    "The refused row is not mended: it needs `row`, an object, or as many `cells` as `columns`"
)


def json_rows(lines: Iterator[Line], are_read: Callable[[], bool] = lambda: True) -> Iterator[Row]:
    """Yield the objects of lines; empty lines are passed over. Mended lines of a refused file are recognised.

    While `are_read` says no, rows are counted only: they have no values then.
    """
    for line in lines:
        data = line.data
        if data is None:
            yield Row(line.number, line.end, line.number + 1, None, TOO_LONG)
            continue
        if line.number == 1:
            data = data.removeprefix(b"\xef\xbb\xbf")
        if not (data := data.strip()):
            continue
        if not are_read():
            yield Row(line.number, line.end, line.number + 1, None)
            continue
        try:
            value = parse_json(data)
        except ParseError as error:
            yield _refused(line, str(error.detail).replace("The body", "The line").rstrip("."), data)
            continue
        if not isinstance(value, dict):
            yield _refused(line, "The line is no object of JSON", data)
        elif value.keys() >= {"line", "cause", "key"} and value.keys() <= _REFUSED_KEYS:
            yield _mended(line, value)
        else:
            yield Row(line.number, line.end, line.number + 1, value)


def shown(data: bytes) -> str:
    """Return the beginning of an unreadable line as text."""
    return data[:MAX_SHOWN].decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


def _refused(line: Line, problem: str, data: bytes) -> Row:
    return Row(line.number, line.end, line.number + 1, None, problem, {"text": shown(data)})


_REFUSED_KEYS: Final = frozenset({"line", "cause", "key", "row", "text", "columns", "cells"})


def _mended(line: Line, value: dict[str, Any]) -> Row:
    """Return the row that a line of a refused file holds, under its key of before."""
    key = value["key"] if isinstance(value["key"], str) else ""
    row, columns, cells = value.get("row"), value.get("columns"), value.get("cells")
    if isinstance(row, dict):
        return Row(line.number, line.end, line.number + 1, row, key=key)
    if isinstance(columns, list) and isinstance(cells, list) and len(columns) == len(cells):
        return Row(
            line.number, line.end, line.number + 1, dict(zip(map(str, columns), cells, strict=True)), key=key
        )
    raw: dict[str, Any] = {name: value[name] for name in ("text", "columns", "cells") if name in value}
    return Row(line.number, line.end, line.number + 1, None, _NOT_MENDED, raw, key)
