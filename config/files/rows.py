"""Row: one record of a file, or why it cannot be read."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

MAX_ROW_BYTES: Final = 1_048_576
"""Longest line, or quoted record of several lines, that is read; a longer one is refused unread."""
MAX_SHOWN: Final = 2_000
"""Characters of an unreadable row of Parquet that the file of refused rows shows."""
TOO_LONG: Final = f"The line is longer than {MAX_ROW_BYTES:,} bytes"


class Row(NamedTuple):
    """A record: its first line (from 1), the position and the line after it, and its values or its problem.

    `raw` is what a refused file keeps of an unreadable row. `key` is what a refused file says of a mended one. `size`
    is about how many bytes it has, where positions do not tell.
    """

    number: int
    end: int
    next_line: int
    values: Mapping[str, Any] | None
    problem: str = ""
    raw: Mapping[str, Any] = MappingProxyType({})
    key: str = ""
    size: int = 0


def shown(data: bytes) -> str:
    """Return an unreadable line as text; bytes that are none are written as `\\xe4`."""
    return data.decode("utf-8", "backslashreplace").replace("\x00", "\\x00")


class Place(NamedTuple):
    """Where reading goes on: the position after the last row, and the number of the line after it."""

    position: int = 0
    line: int = 1
