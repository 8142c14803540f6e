"""ReceivedFile: a file that came in by a request, unpacked into a temporary file, with a hash of what was sent."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Final

from config.files.errors import FileTooLarge, LengthRequired
from config.files.parquet import MAGIC as PARQUET
from config.files.reading import Form, InputFile
from config.files.storage import disk_errors, temporary_file
from config.files.streams import BLOCK_BYTES, GZIP, ByteStream, Chained, Gunzipped, Recoded


class ReceivedFile:
    """A file, a context manager that closes it. `fingerprint` is the hash that a command would give what was sent."""

    def __init__(self, file: IO[bytes], name: str, fingerprint: str, size: int) -> None:
        self.file, self.name, self.fingerprint, self.size = file, name, fingerprint, size

    def __enter__(self) -> "ReceivedFile":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file, which is gone with that."""
        self.file.close()

    def read_as(self, form: Form | None, encoding: str, delimiter: str) -> InputFile:
        """Return the file to be read, its text as UTF-8: reading can begin anywhere in it. Raises UnreadableFile."""
        opened = InputFile(self.name, form, encoding, delimiter, file=self.file)
        if opened.form == "parquet" or not opened.encoding:
            return opened
        self.file.seek(0)
        with _closed_on_error(temporary_file()) as recoded:
            _copy(Recoded(self.file, opened.encoding), recoded)
        self.file.close()
        self.file = recoded
        return InputFile(self.name, opened.form, "utf-8", delimiter, file=recoded)


def receive(source: ByteStream, name: str, most_bytes: int, *, is_length_known: bool = True) -> ReceivedFile:
    """Take a file in, with gzip undone. Raises FileTooLarge, for what is sent and unpacked alike; DamagedFile;
    UploadNotStored.

    Without a known length a source that was cut off looks like one that is over: LengthRequired, unless the file
    itself tells where it ends. And raises whatever reading the source raises.
    """
    hashing = _Hashing(source, most_bytes)
    head = hashing.read(BLOCK_BYTES)
    if not is_length_known and head and not head.startswith((GZIP, PARQUET)):
        raise LengthRequired
    stream: ByteStream = Chained(head, hashing)
    with _closed_on_error(temporary_file()) as file:
        size = _copy(Gunzipped(stream) if head.startswith(GZIP) else stream, file, most_bytes)
        # What follows the last member of a gzip belongs to what was sent.
        while hashing.read(BLOCK_BYTES):
            pass
        return ReceivedFile(file, name, hashing.digest.hexdigest(), size)


class _Hashing:
    """A stream that is hashed as it is read, up to a size."""

    def __init__(self, source: ByteStream, most_bytes: int) -> None:
        self._source, self._left = source, most_bytes
        self._most_bytes = most_bytes
        self.digest = hashlib.blake2b(digest_size=16)

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes. Raises FileTooLarge."""
        block = self._source.read(size)
        self._left -= len(block)
        if self._left < 0:
            raise FileTooLarge(self._most_bytes)
        self.digest.update(block)
        return block


def _copy(source: ByteStream, target: IO[bytes], most_bytes: int | None = None) -> int:
    size = 0
    while block := source.read(_PIECE_BYTES):
        size += len(block)
        if most_bytes is not None and size > most_bytes:
            raise FileTooLarge(most_bytes)
        with disk_errors():
            target.write(block)
    # While no transaction waits for the disk.
    with disk_errors():
        target.flush()
        os.fsync(target.fileno())
    return size


@contextmanager
def _closed_on_error(file: IO[bytes]) -> Iterator[IO[bytes]]:
    try:
        yield file
    except BaseException:
        # A full disk takes no rest.
        with suppress(OSError):
            file.close()
        raise


_PIECE_BYTES: Final = 4 * BLOCK_BYTES
