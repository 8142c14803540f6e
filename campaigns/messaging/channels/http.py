"""HTTP calls to URLs that tenants choose: never to a private address, bounded in time and size."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
from django.conf import settings
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

LOOK_UP_SECONDS: Final = 5.0
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
"""Seconds of silence."""
TOTAL_SECONDS: Final = 20.0
"""Seconds for all hops together, with look-ups and connections."""
MAX_ANSWER: Final = 16_384
"""Bytes of an answer that are read, at most."""
MAX_REDIRECTS: Final = 3
# Standard Webhooks would have a redirect be a failure. These two repeat the call as it is, signature and all, as a
# receiver that has moved means it; the others would turn it into a GET without its body.
_FOLLOWED: Final = (307, 308)
_USER_AGENT: Final = "Headrace/0.1"


class ForbiddenAddress(Exception):  # not an error of ours
    """The URL, or a redirect of it, leads to a private address or to none."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The receiver's answer; `text` is cut to what is read of it."""

    status: int
    text: str
    headers: Mapping[str, str]


def call(method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Make a call, and follow redirects that repeat it (307, 308); to another host without secret headers.

    Each host name is looked up once, and that address checked and used. Raises ForbiddenAddress and
    requests.RequestException.
    """
    deadline = _Deadline()
    try:
        with deadline, _Session() as session:
            answer = _call(session, method, url, body, headers)
        # Who is hung up on in the middle of a header seems to have said all.
        if deadline.is_over:
            raise requests.Timeout
        return answer
    except requests.RequestException as error:
        raise _timeout(error) if deadline.is_over else error from None


def _call(
    session: _Session,
    method: str,
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    hops: int = MAX_REDIRECTS,
) -> Answer:
    with session.request(
        method,
        url,
        data=body,
        headers={name: value.encode() for name, value in headers.items()},
        stream=True,
        allow_redirects=False,
        timeout=(CONNECT_SECONDS, READ_SECONDS),
    ) as got:
        location = got.headers.get("Location")
        if got.status_code not in _FOLLOWED or not location or not hops:
            text = got.raw.read(MAX_ANSWER, decode_content=False)
            return Answer(got.status_code, text.decode(errors="replace"), got.headers)
    try:
        there = urljoin(url, location)
        is_encrypted = urlsplit(there).scheme == "https"
    except ValueError:
        return Answer(got.status_code, "a redirect to no address", got.headers)
    if urlsplit(url).scheme == "https" and not is_encrypted:
        return Answer(got.status_code, "a redirect that would not be encrypted", got.headers)
    if urlsplit(there).netloc != urlsplit(url).netloc:
        headers = {name: value for name, value in headers.items() if name.lower().startswith(_NOT_SECRET)}
    return _call(session, method, there, body, headers, hops - 1)


_NOT_SECRET: Final = ("webhook-", "content-")


def _timeout(error: requests.RequestException) -> requests.Timeout:
    return requests.Timeout(f"no answer in {TOTAL_SECONDS:.0f} s", request=error.request)


class _Session(requests.Session):
    def __init__(self) -> None:
        super().__init__()
        # A proxy of the environment would look names up by itself, and reach what it likes.
        self.trust_env = False
        # Nothing is unpacked, so nothing can be packed small and be big.
        self.headers.update({"User-Agent": _USER_AGENT, "Accept-Encoding": "identity"})
        for adapter in self.adapters.values():
            pools = {"http": _Pool, "https": _EncryptedPool}
            adapter.poolmanager.pool_classes_by_scheme = pools  # type: ignore[attr-defined]  # of each HTTPAdapter

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Hide redirects from requests: it would read the whole body of each."""


class _Deadline:
    """Close the socket after `TOTAL_SECONDS`: a read time-out alone begins anew with every byte."""

    def __init__(self) -> None:
        self._lines: list[socket.socket] = []
        self._ends_at = time.monotonic() + TOTAL_SECONDS
        self._timer = threading.Timer(TOTAL_SECONDS, self._end)
        self._timer.daemon = True

    def __enter__(self) -> None:
        _current.deadline = self
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        _current.deadline = None
        for line in self._lines:
            line.close()

    @property
    def is_over(self) -> bool:
        """Whether the time has passed."""
        return time.monotonic() >= self._ends_at

    def seconds(self, most: float) -> float:
        """Return the seconds left for a step that may take at most `most`; always more than 0."""
        return max(min(most, self._ends_at - time.monotonic()), 0.001)

    def watch(self, line: socket.socket) -> None:
        """Close this socket, too, at the deadline. Uses a duplicate, because TLS takes over the socket itself."""
        self._lines.append(socket.socket(fileno=os.dup(line.fileno())))
        if self.is_over:
            self._end()

    def _end(self) -> None:
        for line in self._lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


_current = threading.local()


class _Watched(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers; TLS still verifies the host name."""
        name, addresses = self._dns_host, self._addresses()
        while True:
            self._dns_host = addresses.pop(0)
            # Each address, as each look-up, has a time of its own, and all of them have what is left of the whole.
            self.timeout = _current.deadline.seconds(CONNECT_SECONDS)
            try:
                line = super()._new_conn()
            except (NewConnectionError, ConnectTimeoutError):
                if not addresses or _current.deadline.is_over:
                    raise
            else:
                _current.deadline.watch(line)
                return line
            finally:
                self._dns_host = name

    def _addresses(self) -> list[str]:
        """Return the addresses of the host name. Raises ForbiddenAddress if any of them is private."""
        try:
            found = _look_up(self._dns_host, self.port)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except UnicodeError as error:
            raise ForbiddenAddress(f"{self.host} is no name of a host") from error
        except TimeoutError as error:
            raise ConnectTimeoutError(
                self, f"{self.host} was not looked up in {LOOK_UP_SECONDS:.0f} s"
            ) from error
        addresses = list(dict.fromkeys(entry[4][0] for entry in found))
        if not settings.WEBHOOK_ALLOW_PRIVATE_ADDRESSES and not all(map(_is_public, addresses)):
            raise ForbiddenAddress(f"{self.host} leads to a private address")
        return addresses


def _look_up(name: str, port: int) -> list[Any]:
    """Resolve a name; the resolver has no time-out of its own. Raises TimeoutError, OSError, UnicodeError."""
    answer: Future[list[Any]] = Future()

    def ask() -> None:
        try:
            answer.set_result(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    return answer.result(_current.deadline.seconds(LOOK_UP_SECONDS))


def _is_public(address: str) -> bool:
    ip = ip_address(address)
    ip = getattr(ip, "ipv4_mapped", None) or ip
    return (
        ip.is_global
        and not (ip.is_multicast or ip.is_reserved or getattr(ip, "is_site_local", False))
        and not any(ip in network for network in _NOT_PUBLIC)
    )


# What the standard library takes for public: ways into IPv4, of which some lead to private addresses, and examples.
_NOT_PUBLIC: Final = tuple(map(ip_network, ("192.0.0.0/24", "192.88.99.0/24", "2002::/16", "3fff::/20")))


class _EncryptedWatched(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _EncryptedWatched
