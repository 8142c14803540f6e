"""Lines of bytes with their numbers and positions, none longer than a bound."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from config.files.errors import DamagedFile
from config.files.rows import MAX_ROW_BYTES, Place
from config.files.streams import BLOCK_BYTES, ByteStream


class Line(NamedTuple):
    """A line with its end; `data` is None for one that is too long, of which nothing is kept."""

    number: int
    end: int
    data: bytes | None


class Block(NamedTuple):
    """Whole lines with their ends, the number of the first, and where it begins."""

    number: int
    position: int
    pieces: list[bytes]
    has_excess: bool = False
    """Its only line is too long; of it the rest is here."""

    def lines(self) -> Iterator[Line]:
        """Yield the lines one by one."""
        position = self.position
        for number, piece in enumerate(self.pieces, self.number):
            position += len(piece)
            is_excess = self.has_excess or len(piece) > MAX_ROW_BYTES
            yield Line(number, position, None if is_excess else piece)

    def after(self, position: int) -> "Block | None":
        """Return the lines that end after a position, None if there are none."""
        begin = self.position
        for place, piece in enumerate(self.pieces):
            if begin + len(piece) > position:
                return Block(self.number + place, begin, self.pieces[place:], self.has_excess)
            begin += len(piece)
        return None


def read_blocks(stream: ByteStream, start: Place) -> Iterator[Block]:
    """Yield lines, ended by LF, CR or both, from a stream that stands at `start`, as many as are read at once.

    Raises DamagedFile with the line; a line that is cut by damage is not yielded.
    """
    position, number = start.position, start.line
    rest = b""
    is_skipping = False
    while True:
        try:
            read = stream.read(BLOCK_BYTES)
        except DamagedFile as error:
            raise DamagedFile(f"{error.message}, at line {number:,}") from error
        if not read:
            break
        pieces = (rest + read).splitlines(keepends=True)
        # What may go on in the next read: a line without an end, or a CR whose LF is still to come.
        rest = b"" if pieces[-1].endswith(b"\n") else pieces.pop()
        if is_skipping and pieces:
            yield Block(number, position, pieces[:1], has_excess=True)
            position, number = position + len(pieces[0]), number + 1
            del pieces[0]
            is_skipping = False
        if pieces:
            yield Block(number, position, pieces)
            position, number = position + sum(map(len, pieces)), number + len(pieces)
        if is_skipping or len(rest) > MAX_ROW_BYTES:
            # A CR at the end stays, it may be half of the line's end.
            kept = b"\r" if rest.endswith(b"\r") else b""
            position += len(rest) - len(kept)
            rest, is_skipping = kept, True
    if rest or is_skipping:
        yield Block(number, position, [rest], has_excess=is_skipping)


def lines_of(blocks: Iterable[Block]) -> Iterator[Line]:
    """Yield the lines of blocks."""
    for block in blocks:
        yield from block.lines()


def blocks_after(blocks: Iterable[Block], position: int) -> Iterator[Block]:
    """Yield what of blocks is after a position."""
    for block in blocks:
        # Of a last line that is too long nothing may be left: its end is its position.
        is_after = block.position >= position and block.pieces[0]
        if (left := block if is_after else block.after(position)) is not None:
            yield left
