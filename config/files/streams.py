"""Byte streams of files: gzip and encodings undone as they are read, to UTF-8."""

import codecs
import zlib
from collections.abc import Callable
from typing import IO, Final, Protocol

from config.files.errors import DamagedFile, UnreadableFile

BLOCK_BYTES: Final = 262_144
GZIP: Final = b"\x1f\x8b"
# That of UTF-32 begins with that of UTF-16.
_BOMS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class ByteStream(Protocol):
    """What bytes are read from."""

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes; none at the end."""


class Chained:
    """A stream of which a part was read already."""

    def __init__(self, head: bytes, rest: ByteStream) -> None:
        self._head = head
        self._rest = rest

    def read(self, size: int, /) -> bytes:
        """Return the head, then the rest."""
        if self._head:
            part, self._head = self._head[:size], self._head[size:]
            return part
        return self._rest.read(size)


class Clipped:
    """The first bytes of a file that may grow while it is read."""

    def __init__(self, file: IO[bytes], length: int) -> None:
        """Go on where the file stands; its length is counted from its beginning."""
        self._file, self._length = file, length
        self._left = length - file.tell()

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes. Raises DamagedFile where the file has been cut since."""
        wanted = min(size, self._left)
        block = self._file.read(wanted) if wanted > 0 else b""
        if wanted > 0 and not block:
            raise DamagedFile(
                f"The file has become shorter while it was read: {self._left:,} of {self._length:,} bytes are gone"
            )
        self._left -= len(block)
        return block


class Gunzipped:
    """The content of a gzip file, of several members too, bounded whatever it unpacks to."""

    def __init__(self, packed: ByteStream) -> None:
        self._packed = packed
        self._member = zlib.decompressobj(wbits=31)
        self._waiting = b""
        self._read_bytes = 0
        self._has_begun = False

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes. Raises DamagedFile where the file is cut or corrupt."""
        while True:
            if self._member.eof and not self._next_member():
                return b""
            if not self._waiting and not self._fill():
                if self._has_begun:
                    raise DamagedFile(f"The gzip file ends early, after {self._read_bytes:,} bytes of it")
                return b""
            self._has_begun = True
            try:
                part = self._member.decompress(self._waiting, size)
            except zlib.error as error:
                raise DamagedFile(
                    f"The gzip file is corrupt at about byte {self._read_bytes:,} of it"
                ) from error
            self._waiting = self._member.unconsumed_tail
            if part:
                return part

    def _fill(self) -> bool:
        self._waiting = self._packed.read(BLOCK_BYTES)
        self._read_bytes += len(self._waiting)
        return bool(self._waiting)

    def _next_member(self) -> bool:
        """Begin the member that follows, if any; some writers fill up with zeros."""
        self._waiting = self._member.unused_data.lstrip(b"\x00")
        while not self._waiting:
            if not self._fill():
                return False
            self._waiting = self._waiting.lstrip(b"\x00")
        self._member = zlib.decompressobj(wbits=31)
        return True


class Recoded:
    """Text of another encoding as UTF-8; what cannot be decoded is left invalid, for its line to be refused."""

    def __init__(self, stream: ByteStream, encoding: str) -> None:
        self._stream = stream
        self._decode: Callable[..., str] = codecs.getincrementaldecoder(encoding)(
            "replaced_as_invalid"
        ).decode
        self._is_over = False

    def read(self, size: int, /) -> bytes:
        """Return some bytes of UTF-8."""
        while not self._is_over:
            block = self._stream.read(size)
            self._is_over = not block
            if recoded := self._decode(block, self._is_over).encode("utf-8", "surrogatepass"):
                return recoded
        return b""


def encoding_of(head: bytes, named: str = "") -> str:
    """Return the encoding of a text by its name, its byte order mark or its zeros; "" is UTF-8.

    Raises UnreadableFile for a name that is none.
    """
    if named:
        if (name := _text_encoding(named)) is None:
            raise UnreadableFile(f"There is no encoding {named[:100]!r}")
        return "" if name in ("utf-8", "utf-8-sig", "ascii") else name
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding
    # Without a mark: most characters of a header are of one byte, and the other is zero.
    sample = head[:4_096]
    even, odd, half = sample[0::2].count(0), sample[1::2].count(0), len(sample) / 2
    if odd > half * 0.6 and even < half * 0.1:
        return "utf-16-le"
    if even > half * 0.6 and odd < half * 0.1:
        return "utf-16-be"
    return ""


def _text_encoding(named: str) -> str | None:
    """Return an encoding's own name, None where it is none, or none of texts, as base64."""
    try:
        name = codecs.lookup(named).name
        decoded: object = codecs.getincrementaldecoder(name)("replaced_as_invalid").decode(b"a\xff", True)
    except Exception:
        # Each codec fails in its own way.
        return None
    return name if isinstance(decoded, str) else None


def _invalid(error: UnicodeError) -> tuple[str, int]:
    """Return a lone surrogate in place of what cannot be decoded: in UTF-8 it is invalid again."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", error.end


codecs.register_error("replaced_as_invalid", _invalid)
