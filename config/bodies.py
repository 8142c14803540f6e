"""Request bodies: read whole before a request is worked on, and for so long only.

The server hands a request over once its headers are there; a thread that reads the body then waits for its sender,
however slow. The server has no limit for that and its stream no time-out, but a connection that is shut down ends it.
"""

import contextlib
import io
import os
import socket
import stat
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

from django.conf import settings

Environ = dict[str, Any]

_TURN_SECONDS = 0.5
# `tcpi_last_data_sent` of Linux' struct tcp_info: milliseconds since anything was sent on the connection.
_TCP_INFO_BYTES = 104
_LAST_DATA_SENT = struct.Struct("=44xI")


class BodyTooSlow(TimeoutError):
    """The body was not there in time."""


class _MissingBody(io.RawIOBase):
    """Stands for a body that was not there in time."""

    def read(self, size: int = -1) -> bytes:
        """Raise BodyTooSlow."""
        raise BodyTooSlow

    def readline(self, size: int | None = -1) -> bytes:
        """Raise BodyTooSlow."""
        raise BodyTooSlow


def with_body(environ: Environ) -> Environ:
    """Return the request with its body in memory, of a known length.

    Of one that is too large, a byte more than is allowed: enough for the refusal. One that was not there within
    `settings.BODY_TIMEOUT_SECONDS` raises BodyTooSlow when it is read.
    """
    is_chunked = "HTTP_TRANSFER_ENCODING" in environ
    length = _length(environ)
    if not is_chunked and not length:
        return environ
    most = settings.MAX_BODY_BYTES + 1
    wanted = most if is_chunked else min(length, most)
    deadline = time.monotonic() + settings.BODY_TIMEOUT_SECONDS
    _watch.begin(environ.get("REMOTE_ADDR", ""), deadline)
    try:
        body = environ["wsgi.input"].read(wanted)
    finally:
        _watch.end()
    is_missing = len(body) < wanted and time.monotonic() >= deadline
    return {
        **environ,
        "wsgi.input": _MissingBody() if is_missing else io.BytesIO(body),
        # Django would take a body without a length for an empty one.
        "CONTENT_LENGTH": str(wanted if is_missing else len(body))
        if is_chunked
        else environ["CONTENT_LENGTH"],
    }


class _Watch:
    """Ends connections whose bodies are overdue; its thread runs only while a body is awaited."""

    def __init__(self) -> None:
        self._awaited: dict[int, tuple[str, float]] = {}
        self._something_awaited = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, peer: str, deadline: float) -> None:
        """Let this thread await a body from `peer`, an address, until the deadline on the monotonic clock."""
        self._awaited[threading.get_ident()] = (peer, deadline)
        # The watching thread forgets first, and looks afterwards at who waits.
        if not self._something_awaited.is_set():
            self._something_awaited.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="slow bodies", daemon=True)
            self._thread.start()

    def end(self) -> None:
        """Tell that this thread awaits no body any more."""
        del self._awaited[threading.get_ident()]

    def _run(self) -> None:
        while True:
            self._something_awaited.wait()
            time.sleep(_TURN_SECONDS)
            self._something_awaited.clear()
            now = time.monotonic()
            for peer, deadline in list(self._awaited.values()):
                self._something_awaited.set()
                if now >= deadline:
                    _end_silent_connections(peer)


def _end_silent_connections(peer: str) -> None:
    """Stop reading from the connections of an address to which nothing was sent for as long as a body may take.

    Which of them has the body the server does not say. The others of the same address are idle ones, which any server
    may close, or, of a proxy that does not buffer bodies, requests that have run for as long.
    """
    silent_milliseconds = (settings.BODY_TIMEOUT_SECONDS - _TURN_SECONDS) * 1000
    for connection in _connections():
        # It may be gone by now.
        with connection, contextlib.suppress(OSError):
            if (
                connection.getpeername()[0] == peer
                and _milliseconds_silent(connection) >= silent_milliseconds
            ):
                connection.shutdown(socket.SHUT_RD)


def _connections() -> Iterator[socket.socket]:
    """Yield a second handle on each TCP socket of this process; none where the system is not Linux."""
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


def _milliseconds_silent(connection: socket.socket) -> int:
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    silent: int = _LAST_DATA_SENT.unpack_from(info)[0]
    return silent


def _length(environ: Environ) -> int:
    try:
        return int(environ.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


_watch = _Watch()
