"""Responses too large for memory: written to a temporary file, and streamed from there.

The database connection is released before the first byte is sent. A slow reader holds a file and a thread, of
which there are `settings.SPOOLED_ANSWERS` at most.
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
"""Responses up to this size stay in memory and are sent whole."""
_CHUNK_BYTES: Final = 1 << 16
_JSON: Final = "application/json"
_slots = BoundedSemaphore(settings.SPOOLED_ANSWERS)


class SpooledResponse(StreamingHttpResponse):
    """A response read from a file; the server streams and closes it."""

    def __init__(self, file: IO[bytes], size: int, held: ExitStack, content_type: str) -> None:
        self._held = held
        super().__init__(_chunks(file), content_type=content_type, headers={"Content-Length": str(size)})

    def when_closed(self, act: Callable[[], object]) -> None:
        """Call `act` once the response is closed."""
        self._held.callback(act)

    def close(self) -> None:
        """Close the file and release the slot."""
        self._held.close()
        super().close()

    def __del__(self) -> None:
        """Release them where the reader disconnected and nothing closed the response."""
        self._held.close()


def spooled(
    write: Callable[[Callable[[bytes], object]], object], content_type: str = _JSON
) -> HttpResponseBase:
    """Return a response of the pieces that `write` passes to its argument.

    Raises Overloaded while `settings.SPOOLED_ANSWERS` responses are open.
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
            return HttpResponse(file.read(), content_type=content_type)
        return SpooledResponse(file, size, held.pop_all(), content_type)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
