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
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.conf import settings

Environ = dict[str, Any]
_Peer = tuple[str, str]
"""The address that a request came from, and the port that it came to: connections to the database are others."""

_TURN_SECONDS = 0.5
_SLOW_BODY_SECONDS = 1.0
"""For which a body may be awaited before it counts as slow."""
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


def await_body(environ: Environ) -> Environ:
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
    awaited = _watch.begin((environ.get("REMOTE_ADDR", ""), environ.get("SERVER_PORT", "")))
    try:
        body = environ["wsgi.input"].read(wanted)
    finally:
        _watch.end(awaited)
    is_overdue = len(body) < wanted and time.monotonic() >= awaited.deadline
    return {
        **environ,
        "wsgi.input": _MissingBody() if is_overdue else io.BytesIO(body),
        # Django would take a body without a length for an empty one.
        "CONTENT_LENGTH": str(wanted if is_overdue else len(body))
        if is_chunked
        else environ["CONTENT_LENGTH"],
    }


def is_missing(request: Environ) -> bool:
    """Tell whether the body of a request was not there in time."""
    return isinstance(request["wsgi.input"], _MissingBody)


def rewind(request: Environ) -> None:
    """Have the body read again from its beginning."""
    if isinstance(request["wsgi.input"], io.BytesIO):
        request["wsgi.input"].seek(0)


class _PendingBody:
    """A body that a thread waits for: whose it is, since when and until when (monotonic seconds)."""

    __slots__ = ("began", "deadline", "peer")

    def __init__(self, peer: _Peer) -> None:
        self.peer = peer
        self.began = time.monotonic()
        self.deadline: float = self.began + settings.BODY_TIMEOUT_SECONDS


class _BodyWatcher:
    """Ends connections whose bodies are overdue; its thread runs only while a body is awaited.

    Where more than `settings.SLOW_BODIES` are slow at once, those in excess are overdue: first those of the address
    that has the most, the longest awaited of them first.
    """

    def __init__(self) -> None:
        self._awaited: set[_PendingBody] = set()
        self._something_awaited = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, peer: _Peer) -> _PendingBody:
        """Let this thread await a body from `peer`."""
        awaited = _PendingBody(peer)
        self._awaited.add(awaited)
        # The watching thread forgets first, and looks afterwards at who waits.
        if not self._something_awaited.is_set():
            self._something_awaited.set()
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="slow bodies", daemon=True)
            # The system may give no more threads; the next body asks again.
            with contextlib.suppress(RuntimeError):
                thread.start()
                self._thread = thread
        return awaited

    def end(self, awaited: _PendingBody) -> None:
        """Tell that this body is awaited no more."""
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
            for one in _in_excess([one for one in awaited if now - one.began >= _SLOW_BODY_SECONDS]):
                one.deadline = min(one.deadline, now)
            overdue: dict[_Peer, float] = {}
            for one in awaited:
                if now >= one.deadline:
                    seconds = now - one.began - _TURN_SECONDS
                    overdue[one.peer] = min(overdue.get(one.peer, seconds), seconds)
            for peer, seconds in overdue.items():
                _end_silent_connections(peer, seconds)


def _in_excess(slow: list[_PendingBody]) -> list[_PendingBody]:
    """Return those of the slow bodies that are too many."""
    by_peer: dict[_Peer, list[_PendingBody]] = defaultdict(list)
    for one in sorted(slow, key=lambda one: one.began, reverse=True):
        by_peer[one.peer].append(one)
    return [max(by_peer.values(), key=len).pop() for _ in range(len(slow) - settings.SLOW_BODIES)]


def _end_silent_connections(peer: _Peer, seconds: float) -> None:
    """Stop reading from the connections of an address to which nothing was sent for so long.

    Which of them has the body the server does not say. The others of the same address are idle ones, which any server
    may close, or, of a proxy that does not buffer bodies, requests that have run for as long.
    """
    for connection in _connections():
        # It may be gone by now.
        with connection, contextlib.suppress(OSError):
            ends = connection.getpeername()[0], str(connection.getsockname()[1])
            if ends == peer and _milliseconds_silent(connection) >= seconds * 1000:
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


_watch = _BodyWatcher()
