"""Inflate compressed request bodies as they are read, up to MAX_BODY_BYTES."""

import io
import zlib
from collections.abc import Callable
from typing import IO, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from config.http.bodies import is_upload

SUPPORTED = ("gzip", "deflate")
MOST_MEMBERS = 1_000
"""Members of one gzip stream: concatenating tools make a few, an attacker as many as fit."""
_PIECE_BYTES = 16 * 1024
_GZIP, _ZLIB, _RAW = 31, 15, -15
_ALIASES = {"x-gzip": "gzip"}
_ZLIB_METHOD = 8


class UnknownEncoding(OSError):
    """The body's `Content-Encoding` is not supported."""


class CorruptBody(OSError):
    """The body does not decode, or ends early."""


class InflatedTooLarge(OSError):
    """The body is larger than MAX_BODY_BYTES, compressed or inflated."""


class InflatingMiddleware:
    """Give compressed requests a body that inflates when it is read, which is after authentication."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer the request."""
        header = request.META.get("HTTP_CONTENT_ENCODING")
        # An upload is unpacked as a file.
        if header and not is_upload(request.META) and (encodings := _encodings(header)):
            # `request.body` and DRF's parsers read from this.
            body = InflatedBody(request._stream, encodings, request.META)
            request._stream = body  # type: ignore[assignment]  # it only reads
        return self._get_response(request)


class InflatedBody(io.RawIOBase):
    """A body inflated when it is read, which also sets CONTENT_LENGTH in `environ`.

    Reading raises UnknownEncoding, CorruptBody or InflatedTooLarge.
    """

    def __init__(self, packed: IO[bytes], encodings: list[str], environ: dict[str, Any]) -> None:
        super().__init__()
        self._packed = packed
        self._encodings = encodings
        self._environ = environ
        self._bytes: io.BytesIO | None = None

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Return up to `size` bytes, by default all."""
        return self._inflated().read(size)

    def readline(self, size: int | None = -1) -> bytes:
        """Return a line."""
        return self._inflated().readline(size)

    def _inflated(self) -> io.BytesIO:
        if self._bytes is None:
            if len(self._encodings) > 1 or self._encodings[0] not in SUPPORTED:
                raise UnknownEncoding
            limit: int = settings.MAX_BODY_BYTES
            packed = self._packed.read(limit + 1)
            if len(packed) > limit:
                raise InflatedTooLarge
            inflated = inflate(packed, self._encodings[0], limit)
            self._environ["CONTENT_LENGTH"] = str(len(inflated))
            self._bytes = io.BytesIO(inflated)
        return self._bytes


def inflate(packed: bytes, encoding: str, limit: int) -> bytes:
    """Return the inflated bytes. Raises CorruptBody, or InflatedTooLarge beyond `limit` bytes."""
    window = _GZIP if encoding == "gzip" else _ZLIB if _is_zlib(packed) else _RAW
    inflated = bytearray()
    decoder, members = zlib.decompressobj(window), 1
    rest, position = b"", 0
    try:
        while True:
            if not rest:
                rest = packed[position : position + _PIECE_BYTES]
                position += len(rest)
            if decoder.eof:
                # Another member may follow, and padding with zeros.
                rest = rest.lstrip(b"\0")
                if not rest and position >= len(packed):
                    return bytes(inflated)
                if rest and (window != _GZIP or members == MOST_MEMBERS):
                    raise CorruptBody
                if rest:
                    decoder, members = zlib.decompressobj(window), members + 1
                continue
            if not rest and position >= len(packed):
                raise CorruptBody
            inflated += decoder.decompress(rest, limit + 1 - len(inflated))
            if len(inflated) > limit:
                raise InflatedTooLarge
            rest = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    except zlib.error as error:
        raise CorruptBody from error


def _is_zlib(packed: bytes) -> bool:
    """Tell zlib, which `deflate` means, from raw deflate, which some clients send under that name."""
    return len(packed) > 1 and packed[0] & 0x0F == _ZLIB_METHOD and int.from_bytes(packed[:2]) % 31 == 0


def _encodings(header: str) -> list[str]:
    names = (name.strip().lower() for name in header.split(","))
    return [_ALIASES.get(name, name) for name in names if name not in ("", "identity")]
