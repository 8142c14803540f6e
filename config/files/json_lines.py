"""JSON Lines: an object a line, with the checks of a request's body."""

from collections.abc import Callable, Iterator

from config.files.errors import RowRefused
from config.files.lines import Line
from config.files.mended import is_refused_line, json_object, mended_row
from config.files.rows import TOO_LONG, Row, shown


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
            value = json_object(data)
        except RowRefused as error:
            yield Row(line.number, line.end, line.number + 1, None, error.message, {"text": shown(data)})
            continue
        if is_refused_line(value):
            yield mended_row(line, value)
        else:
            yield Row(line.number, line.end, line.number + 1, value)
