"""Answers that may be larger than the memory: written to a file first, and streamed from there.

The database is done with before the first byte leaves. Who reads slowly holds a file and a thread, and no more of
them do at once than `settings.SPOOLED_ANSWERS`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from tempfile import SpooledTemporaryFile
from threading import BoundedSemaphore
from typing import IO, Final

from django.conf import settings
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase

from config.errors import Overloaded

WHOLE_BYTES: Final = 1 << 20
"""Up to which an answer stays in memory, and leaves whole."""
_CHUNK_BYTES: Final = 1 << 16
_JSON: Final = "application/json"
_slots = BoundedSemaphore(settings.SPOOLED_ANSWERS)


class SpooledResponse(StreamingHttpResponse):
    """An answer that is read from a file; the server is to stream it, and to close it."""

    def __init__(self, file: IO[bytes], size: int, held: ExitStack) -> None:
        self._held = held
        super().__init__(_chunks(file), content_type=_JSON, headers={"Content-Length": str(size)})

    def when_closed(self, act: Callable[[], object]) -> None:
        """Have something done once nobody reads it any more."""
        self._held.callback(act)

    def close(self) -> None:
        """Give up the file and the slot."""
        self._held.close()
        super().close()

    def __del__(self) -> None:
        """Give them up, too, where a reader went away and nobody closed the answer."""
        self._held.close()


def spooled(write: Callable[[Callable[[bytes], object]], object]) -> HttpResponseBase:
    """Return the JSON that `write` hands piece by piece to its argument.

    Raises Overloaded if too many are under way.
    """
    if not _slots.acquire(blocking=False):
        raise Overloaded
    with ExitStack() as held:
        held.callback(_slots.release)
        file: IO[bytes] = held.enter_context(SpooledTemporaryFile(max_size=WHOLE_BYTES))
        write(file.write)
        size = file.tell()
        file.seek(0)
        if size <= WHOLE_BYTES:
            return HttpResponse(file.read(), content_type=_JSON)
        return SpooledResponse(file, size, held.pop_all())


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
