"""Lines of bytes with their numbers and positions, none longer than a bound."""

from collections.abc import Iterator
from typing import NamedTuple

from config.files.errors import DamagedFile
from config.files.rows import MAX_ROW_BYTES, Place
from config.files.streams import BLOCK_BYTES, ByteStream


class Line(NamedTuple):
    """A line with its end; `data` is None for one that is too long, of which nothing is kept."""

    number: int
    end: int
    data: bytes | None


def read_lines(stream: ByteStream, start: Place) -> Iterator[Line]:
    """Yield lines, ended by LF, CR or both, from a stream that stands at `start`.

    Raises DamagedFile with the line; a line that is cut by damage is not yielded.
    """
    position, number = start.position, start.line
    rest = b""
    is_skipping = False
    while True:
        try:
            block = stream.read(BLOCK_BYTES)
        except DamagedFile as error:
            raise DamagedFile(f"{error.message}, at line {number:,}") from error
        if not block:
            break
        pieces = (rest + block).splitlines(keepends=True)
        # What may go on in the next block: a line without an end, or a CR whose LF is still to come.
        rest = b"" if pieces[-1].endswith(b"\n") else pieces.pop()
        for piece in pieces:
            position += len(piece)
            too_long = is_skipping or len(piece) > MAX_ROW_BYTES
            is_skipping = False
            yield Line(number, position, None if too_long else piece)
            number += 1
        if len(rest) > MAX_ROW_BYTES:
            # A CR at the end of a block stays, it may be half of the line's end.
            kept = b"\r" if rest.endswith(b"\r") else b""
            position += len(rest) - len(kept)
            rest, is_skipping = kept, True
    if rest or is_skipping:
        position += len(rest)
        yield Line(number, position, None if is_skipping or len(rest) > MAX_ROW_BYTES else rest)
