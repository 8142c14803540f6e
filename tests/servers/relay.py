"""A relay before a broker: it can refuse, fall silent, and be itself again, whatever server is behind it."""

import contextlib
import socket
import threading

BLOCK_BYTES = 65536


class Relay:
    """Passes on what arrives at a port of its own."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self._speaks = threading.Event()
        self._speaks.set()
        self._sockets: list[socket.socket] = []
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    def cut(self) -> None:
        """Break every connection and refuse new ones, as a server that has died."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _shut(listener)
        for one in self._sockets:
            _shut(one)
        self._sockets.clear()

    def hush(self) -> None:
        """Take connections and bytes and answer nothing, as a server that hangs."""
        self._speaks.clear()

    def heal(self) -> None:
        """Pass on everything again, what waited too."""
        self._speaks.set()
        if self._listener is None:
            self._listener = self._listen(self.port)

    def _listen(self, port: int) -> socket.socket:
        listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept, args=[listener], daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=self._join, args=[near], daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        self._sockets.append(near)
        self._speaks.wait()
        try:
            far = socket.create_connection(self.target, timeout=5)
        except OSError:
            _shut(near)
            return
        far.settimeout(None)
        self._sockets.append(far)
        threading.Thread(target=self._pump, args=[far, near], daemon=True).start()
        self._pump(near, far)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(BLOCK_BYTES):
                self._speaks.wait()
                target.sendall(data)
        _shut(source)
        _shut(target)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
