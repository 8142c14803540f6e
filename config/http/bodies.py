"""Read request bodies whole before the request is handled, within a time limit; uploads as they are handled.

The server hands a request over once its headers have arrived; the thread that reads the body waits for the
client, however slow. The server's stream has no time-out, but shutting the connection down ends the wait.
"""

import contextlib
import io
import os
import socket
import stat
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.conf import settings

Environ = dict[str, Any]
_Peer = tuple[str, str]
"""Client address and server port; the port tells client connections from those to the database."""

_PIECE_BYTES = 65_536
"""Of an upload: so much has to come within BODY_TIMEOUT_SECONDS. A client may be slow, and not stand still."""
_TURN_SECONDS = 0.5
_SLOW_BODY_SECONDS = 1.0
"""Wait after which a body counts as slow."""
# Of Linux' struct tcp_info `tcpi_last_data_sent`, milliseconds since anything was sent on the connection, and
# `tcpi_bytes_received`.
_TCP_INFO_BYTES = 136
_TCP_INFO = struct.Struct("=44xI80xQ")


class BodyTooSlow(TimeoutError):
    """The body did not arrive in time."""


class BodyTooLong(OSError):
    """The body of an upload is longer than any may be."""


class IncompleteBody(OSError):
    """The body of an upload ended before its length."""


MULTIPART_BYTES = 1_048_576
"""What may be around a file in the body of an upload: fields, and boundaries."""


def is_upload(environ: Environ) -> bool:
    """Tell whether a request's body is a file to be stored, by its address."""
    if environ["REQUEST_METHOD"] != "POST":
        return False
    return settings.UPLOAD_PATHS.fullmatch(environ["PATH_INFO"]) is not None


class UploadBody(io.RawIOBase):
    """The body of an upload, read as it arrives, up to MAX_UPLOAD_BYTES and what is around a file.

    Reading raises BodyTooSlow where a piece takes longer than BODY_TIMEOUT_SECONDS, BodyTooLong or IncompleteBody.
    """

    def __init__(self, environ: Environ, length: int | None) -> None:
        super().__init__()
        self._input = environ["wsgi.input"]
        self._peer = _peer(environ)
        self._length = length
        self._left = settings.MAX_UPLOAD_BYTES + MULTIPART_BYTES
        self._read = 0

    @property
    def has_begun(self) -> bool:
        """Whether something was read, which cannot be read again."""
        return self._read > 0

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, or a piece."""
        wanted = _PIECE_BYTES if size < 0 else min(size, _PIECE_BYTES)
        if self._length is not None:
            wanted = min(wanted, self._length - self._read)
        if not wanted:
            return b""
        awaited = _watch.begin(self._peer, _PIECE_BYTES)
        try:
            piece: bytes = self._input.read(wanted)
        finally:
            _watch.end(awaited)
        if len(piece) < wanted and time.monotonic() >= awaited.deadline:
            raise BodyTooSlow
        if not piece and self._length is not None:
            raise IncompleteBody
        self._read += len(piece)
        self._left -= len(piece)
        if self._left < 0:
            raise BodyTooLong
        return piece


class _MissingBody(io.RawIOBase):
    """Stand in for a body that did not arrive in time."""

    def read(self, size: int = -1) -> bytes:
        """Raise BodyTooSlow."""
        raise BodyTooSlow

    def readline(self, size: int | None = -1) -> bytes:
        """Raise BodyTooSlow."""
        raise BodyTooSlow


def await_body(environ: Environ) -> Environ:
    """Return the request with its body in memory and its length known.

    A body that is too large is cut one byte beyond the limit, so that reading it is refused. One that did not
    arrive within `settings.BODY_TIMEOUT_SECONDS` raises BodyTooSlow when it is read.
    """
    is_chunked = "HTTP_TRANSFER_ENCODING" in environ
    length = _length(environ)
    if not is_chunked and not length:
        return environ
    if is_upload(environ):
        known = None if is_chunked else length
        most_bytes = settings.MAX_UPLOAD_BYTES + MULTIPART_BYTES
        # Without a length Django takes the body for empty.
        declared = str(most_bytes + 1) if is_chunked else environ["CONTENT_LENGTH"]
        return {**environ, "wsgi.input": UploadBody(environ, known), "CONTENT_LENGTH": declared}
    most_bytes = settings.MAX_BODY_BYTES + 1
    wanted = most_bytes if is_chunked else min(length, most_bytes)
    awaited = _watch.begin(_peer(environ), wanted)
    try:
        body = environ["wsgi.input"].read(wanted)
    finally:
        _watch.end(awaited)
    is_overdue = len(body) < wanted and time.monotonic() >= awaited.deadline
    return {
        **environ,
        "wsgi.input": _MissingBody() if is_overdue else io.BytesIO(body),
        # Without a length Django takes the body for empty.
        "CONTENT_LENGTH": str(wanted if is_overdue else len(body))
        if is_chunked
        else environ["CONTENT_LENGTH"],
    }


def is_missing(request: Environ) -> bool:
    """Tell whether the body of a request did not arrive in time, or was an upload that is read by now."""
    body = request["wsgi.input"]
    return isinstance(body, _MissingBody) or (isinstance(body, UploadBody) and body.has_begun)


def rewind(request: Environ) -> None:
    """Let the body be read again from its beginning."""
    if isinstance(request["wsgi.input"], io.BytesIO):
        request["wsgi.input"].seek(0)


class _PendingBody:
    """A body that a thread waits for: its peer, how much of it is awaited, start and deadline (monotonic seconds)."""

    __slots__ = ("awaited_bytes", "began", "deadline", "peer", "received", "received_at", "seconds")

    def __init__(self, peer: _Peer, awaited_bytes: int) -> None:
        self.peer, self.awaited_bytes = peer, awaited_bytes
        self.began = time.monotonic()
        self.seconds: float = settings.BODY_TIMEOUT_SECONDS
        self.deadline = self.began + self.seconds
        self.received: dict[Any, int] = {}
        """What every connection had received soon after the start, by its other end."""
        self.received_at = 0.0

    def is_in_excess(self, now: float) -> None:
        """Be overdue at once, for others that are not faster than a slow one."""
        self.deadline, self.seconds = min(self.deadline, now), _SLOW_BODY_SECONDS

    def may_come_by(self, end: Any, received: int, now: float) -> bool:
        """Tell whether a connection may be the one: others have received more than was awaited of this one."""
        if not self.received_at:
            return True
        if end not in self.received:
            return False
        share = max((now - self.received_at) / self.seconds, 0) if self.seconds else 1
        return received - self.received[end] <= self.awaited_bytes * share


class _BodyWatcher:
    """Ends connections whose bodies are overdue; its thread runs only while a body is awaited.

    Beyond `settings.SLOW_BODIES` slow bodies the excess is overdue at once: first those of the address that
    has the most_bytes, the longest awaited first.
    """

    def __init__(self) -> None:
        self._awaited: set[_PendingBody] = set()
        self._something_awaited = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, peer: _Peer, awaited_bytes: int) -> _PendingBody:
        """Register that this thread waits for a body from `peer`."""
        awaited = _PendingBody(peer, awaited_bytes)
        self._awaited.add(awaited)
        # The watching thread clears the flag before it reads who waits, so no body is missed.
        if not self._something_awaited.is_set():
            self._something_awaited.set()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="slow bodies", daemon=True)
            # Where no thread can be started the next body tries again.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread
        return awaited

    def end(self, awaited: _PendingBody) -> None:
        """Unregister a body that arrived or failed."""
        self._awaited.discard(awaited)

    def _run(self) -> None:
        while True:
            self._something_awaited.wait()
            time.sleep(_TURN_SECONDS)
            self._something_awaited.clear()
            now = time.monotonic()
            awaited = list(self._awaited)
            if awaited:
                self._something_awaited.set()
            _note_received([body for body in awaited if not body.received_at], now)
            for body in _in_excess([body for body in awaited if now - body.began >= _SLOW_BODY_SECONDS]):
                body.is_in_excess(now)
            if overdue := [body for body in awaited if now >= body.deadline]:
                _end_connections_of(overdue, now)


def _note_received(bodies: list[_PendingBody], now: float) -> None:
    """Note for bodies that are not there at once what each connection has received."""
    if waiting := [body for body in bodies if now - body.began >= _TURN_SECONDS]:
        received = {}
        for connection in _connections():
            with connection, contextlib.suppress(OSError):
                received[connection.getpeername()] = _tcp_info(connection)[1]
        for body in waiting:
            body.received, body.received_at = received, now


def _in_excess(slow: list[_PendingBody]) -> list[_PendingBody]:
    """Return the slow bodies beyond `settings.SLOW_BODIES`."""
    by_peer: dict[_Peer, list[_PendingBody]] = defaultdict(list)
    for body in sorted(slow, key=lambda body: body.began, reverse=True):
        by_peer[body.peer].append(body)
    return [max(by_peer.values(), key=len).pop() for _ in range(len(slow) - settings.SLOW_BODIES)]


def _end_connections_of(overdue: list[_PendingBody], now: float) -> None:
    """Shut down reading on the connections by which bodies may come, to which nothing was sent since they began.

    The server does not say which connection has the body. The rest of the same address are idle, or, behind a
    proxy that does not buffer bodies, requests that have run for as long; but no uploads that are faster.
    """
    by_peer: dict[_Peer, list[_PendingBody]] = defaultdict(list)
    for body in overdue:
        by_peer[body.peer].append(body)
    for connection in _connections():
        # It may be closed by now.
        with connection, contextlib.suppress(OSError):
            end = connection.getpeername()
            silent, received = _tcp_info(connection)
            if any(
                silent >= (now - body.began - _TURN_SECONDS) * 1000 and body.may_come_by(end, received, now)
                for body in by_peer.get((end[0], str(connection.getsockname()[1])), ())
            ):
                connection.shutdown(socket.SHUT_RD)


def _connections() -> Iterator[socket.socket]:
    """Yield a duplicate of each TCP socket of this process (Linux only)."""
    if not hasattr(socket, "TCP_INFO") or not os.path.isdir("/proc/self/fd"):
        return
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        with contextlib.suppress(OSError):
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            handle = socket.socket(fileno=os.dup(descriptor))
            if handle.family in (socket.AF_INET, socket.AF_INET6):
                yield handle
            else:
                handle.close()


def _tcp_info(connection: socket.socket) -> tuple[int, int]:
    """Return for how many milliseconds nothing was sent, and how many bytes were received."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    silent, received = _TCP_INFO.unpack_from(info)
    return silent, received


def _peer(environ: Environ) -> _Peer:
    return environ.get("REMOTE_ADDR", ""), environ.get("SERVER_PORT", "")


def _length(environ: Environ) -> int:
    try:
        return int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


_watch = _BodyWatcher()
