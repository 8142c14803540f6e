"""Files of refused rows: JSON Lines of line, cause, key and the row, which can be imported again once mended."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson


class RefusedFile:
    """Rows that were not taken. Nothing beyond the committed length survives a crash: it is cut off on opening."""

    def __init__(self, path: Path, length: int) -> None:
        """Go on after `length` bytes, or where the file ends if somebody took it away. Raises OSError."""
        self.path = path
        self.length = min(length, path.stat().st_size) if path.exists() else 0
        if path.exists():
            os.truncate(path, self.length)

    def append(self, rows: Iterable[Mapping[str, Any]]) -> int:
        """Write rows to the disk, behind what is committed. Returns the new length, for `length` once that is."""
        written = b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE, default=str) for row in rows)
        if not written:
            return self.length
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, self.length)
            _write(descriptor, written, self.length)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return self.length + len(written)


def _write(descriptor: int, written: bytes, position: int) -> None:
    """Write all: where the disk is nearly full, a call writes a part, and the next one raises OSError."""
    left = memoryview(written)
    while left:
        count = os.pwrite(descriptor, left, position)
        left, position = left[count:], position + count


def refused_row(number: int, cause: str, key: str, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of a refused file; `raw` is the row, or what could be read of it."""
    return {"line": number, "cause": cause, "key": key, **raw}
