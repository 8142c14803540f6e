"""Bodies of this format: JSON under any media type, packed or not."""

from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from config.http.compression import CorruptBody, InflatedTooLarge, inflate
from config.http.json import BodyTooLarge, StrictJSONParser, parse_json, read_whole
from workspaces.api.base import SingleFormatNegotiation

_GZIP = b"\x1f\x8b"


class PackedJSONParser(StrictJSONParser):
    """Parse JSON, also where it is packed and no `Content-Encoding` says so."""

    def parse(
        self,
        stream: IO[bytes],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the parsed body, `{}` for an empty one. Raises what StrictJSONParser does."""
        body = read_whole(stream)
        if body.startswith(_GZIP):
            body = _inflated(body)
            # As for a body whose packing is named: the limits are those of what is inflated.
            (parser_context or {})["request"].META["CONTENT_LENGTH"] = str(len(body))
        return parse_json(body) if body.strip() else {}


class AnyMediaType(SingleFormatNegotiation):
    """Take JSON whatever it is called: the clients name forms and plain text."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser:
        """Return the one parser there is."""
        return PackedJSONParser()


def _inflated(body: bytes) -> bytes:
    try:
        return inflate(body, "gzip", settings.MAX_BODY_BYTES)
    except InflatedTooLarge as error:
        raise BodyTooLarge from error
    except CorruptBody as error:
        raise ParseError("The body is no valid gzip.") from error
