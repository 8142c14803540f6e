"""Calls to addresses that tenants choose: never to a private address, never for long, never for much."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

import requests
from django.conf import settings
from requests_hardened import Config, HTTPSession
from requests_hardened.ip_filter import InvalidIPAddress
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 10.0
"""Of silence."""
TOTAL_SECONDS: Final = 20.0
"""For all hops together, however slowly they speak."""
MAX_ANSWER: Final = 16_384
"""Bytes of an answer that are read."""
MAX_REDIRECTS: Final = 3
# The others would turn the call into a GET without its body.
_FOLLOWED: Final = (307, 308)
_USER_AGENT: Final = "Headrace/0.1"


class ForbiddenAddress(Exception):  # not an error of ours
    """The address, or one that it leads to, is private."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a receiver said, its text no further than we read."""

    status: int
    text: str
    headers: Mapping[str, str]


def call(method: str, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Make a call; a redirect that repeats it as it is is followed, without what is secret if to another host.

    Every hop goes to an address that was looked up once and checked. Raises ForbiddenAddress and
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
    except InvalidIPAddress as error:
        raise ForbiddenAddress(f"{url} leads to a private address") from error
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
        method, url, data=body, headers=dict(headers), stream=True, allow_redirects=False
    ) as got:
        location = got.headers.get("Location")
        if got.status_code not in _FOLLOWED or not location or not hops:
            text = got.raw.read(MAX_ANSWER, decode_content=False)
            return Answer(got.status_code, text.decode(errors="replace"), got.headers)
    there = urljoin(url, location)
    if urlsplit(url).scheme == "https" and urlsplit(there).scheme != "https":
        return Answer(got.status_code, "a redirect that would not be encrypted", got.headers)
    if urlsplit(there).netloc != urlsplit(url).netloc:
        headers = {name: value for name, value in headers.items() if name.lower().startswith(_NOT_SECRET)}
    return _call(session, method, there, body, headers, hops - 1)


_NOT_SECRET: Final = ("webhook-", "content-")


def _timeout(error: requests.RequestException) -> requests.Timeout:
    return requests.Timeout(f"no answer in {TOTAL_SECONDS:.0f} s", request=error.request)


class _Session(HTTPSession):  # type: ignore[misc]  # the library has no types
    def __init__(self) -> None:
        super().__init__(
            Config(
                ip_filter_enable=not settings.WEBHOOK_ALLOW_PRIVATE_ADDRESSES,
                ip_filter_allow_loopback_ips=False,
                never_redirect=True,
                default_timeout=(CONNECT_SECONDS, READ_SECONDS),
                user_agent_override=_USER_AGENT,
            )
        )
        # A proxy of the environment would look names up by itself, and reach what it likes.
        self.trust_env = False
        # Nothing is unpacked, so nothing can be packed small and be big.
        self.headers["Accept-Encoding"] = "identity"
        for adapter in self.adapters.values():
            adapter.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _EncryptedPool}

    def get_redirect_target(self, resp: requests.Response) -> None:
        """See no redirect: even one that is not followed would be read to its end."""


class _Deadline:
    """Hangs up on whoever is still speaking after `TOTAL_SECONDS`: a read's time-out starts anew with every byte."""

    def __init__(self) -> None:
        self.is_over = False
        self._lines: list[socket.socket] = []
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

    def watch(self, line: socket.socket) -> None:
        """Hang up on this one too; by a duplicate, since encryption takes the socket itself over."""
        self._lines.append(socket.socket(fileno=os.dup(line.fileno())))
        if self.is_over:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        for line in self._lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


_current = threading.local()


class _Watched(HTTPConnection):
    def _new_conn(self) -> socket.socket:
        line = super()._new_conn()
        _current.deadline.watch(line)
        return line


class _EncryptedWatched(_Watched, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Watched


class _EncryptedPool(HTTPSConnectionPool):
    ConnectionCls = _EncryptedWatched
