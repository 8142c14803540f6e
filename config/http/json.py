"""JSON of requests and responses: a parser that refuses what cannot be stored, and a lean renderer."""

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import IO, Any, NoReturn

import msgspec
import orjson
from django.conf import settings
from django.http import UnreadablePostError
from rest_framework import status
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer

from config.http.bodies import BodyTooLong, IncompleteBody
from config.http.compression import CorruptBody, InflatedTooLarge, UnknownEncoding
from config.http.rendering import dumps
from config.values.names import composed
from config.values.numbers import as_stored

MAX_DEPTH = 100
# Limits of a whole body: within MAX_BODY_BYTES they allow an object per 50 bytes and a value per 20.
MAX_CONTAINERS = 100_000
MAX_VALUES = 250_000
_INT64 = range(-(2**63), 2**63)
_ESCAPED_SURROGATE_OR_NUL = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")
_ESCAPED_COLON = re.compile(rb"\\u003[aA]")


class BodyTooLarge(APIException):
    """The request's body has more bytes than `settings.MAX_BODY_BYTES`."""

    status_code = status.HTTP_413_REQUEST_ENTITY_TOO_LARGE
    default_detail = "The request body is too large."
    default_code = "body_too_large"


class BodyTimeout(APIException):
    """The request's body did not arrive within `settings.BODY_TIMEOUT_SECONDS`."""

    status_code = status.HTTP_408_REQUEST_TIMEOUT
    default_detail = "The request body did not arrive in time."
    default_code = "body_overdue"


class UnsupportedEncoding(APIException):
    """The request's body has a `Content-Encoding` that is not supported."""

    status_code = status.HTTP_415_UNSUPPORTED_MEDIA_TYPE
    default_detail = "Unsupported content encoding."
    default_code = "unsupported_encoding"


class StrictJSONParser(BaseParser):
    """Parse JSON strictly: see `parse_json`."""

    media_type = "application/json"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        """Return the parsed body, `{}` for an empty one. Raises ParseError, BodyTooLarge or BodyTimeout."""
        body = read_whole(stream)
        return parse_json(body) if body.strip() else {}


class CSVParser(BaseParser):
    """Return an uploaded list as text; its reader parses the columns."""

    media_type = "text/csv"

    def parse(self, stream: IO[bytes], media_type: str | None = None, parser_context: Any = None) -> Any:
        """Return the text. Raises ParseError, BodyTooLarge or BodyTimeout."""
        try:
            text = read_whole(stream).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise ParseError("The body is not valid UTF-8.") from error
        if "\x00" in text:
            raise ParseError("The body has a NUL character.")
        return text


class LeanJSONRenderer(BaseRenderer):
    """Render JSON without DRF's content negotiation extras."""

    media_type = "application/json"
    format = "json"
    charset = None

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return `data` as JSON bytes; None is an empty body."""
        return b"" if data is None else dumps(data)


def read_whole(stream: IO[bytes]) -> bytes:
    """Return a request's body. Raises BodyTooLarge, BodyTimeout, UnsupportedEncoding or ParseError."""
    limit: int = settings.MAX_BODY_BYTES
    try:
        body = stream.read(limit + 1)
    except UnreadablePostError as error:
        raise parsing_error_of(error) from error
    if len(body) > limit:
        raise BodyTooLarge
    return body


def parsing_error_of(error: UnreadablePostError) -> Exception:
    """Return the API error for a body that cannot be read; the error itself where the cause is unknown."""
    cause: BaseException | None = error
    # Django wraps errors of reading once or twice.
    while isinstance(cause, UnreadablePostError):
        cause = cause.__cause__
    match cause:
        case TimeoutError():
            return BodyTimeout()
        case UnknownEncoding():
            return UnsupportedEncoding()
        case InflatedTooLarge() | BodyTooLong():
            return BodyTooLarge()
        case IncompleteBody():
            return ParseError("The body ended before its length.")
        case CorruptBody():
            return ParseError("The body is not what its Content-Encoding says.")
    return error


def parse_json(body: bytes | str) -> Any:
    """Return the value that `body` spells. Raises ParseError for what could not be stored without loss."""
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ParseError("The body is not valid UTF-8.") from error
    _reject_excess(raw)
    has_unstorable = _ESCAPED_SURROGATE_OR_NUL.search(raw) is not None
    if not has_unstorable:
        try:
            return _read_quickly(raw)
        except (ValueError, TypeError, RecursionError, ParseError):
            pass  # the strict reader decides
    value = _read_strictly(text)
    if has_unstorable:
        _reject_unstorable_text(value)
    return value


def _read_quickly(raw: bytes) -> Any:
    """Parse with orjson where the result is certain to be the strict reader's. Raises ValueError otherwise.

    orjson keeps one of several values of a repeated key: then its value has fewer colons than the text.
    """
    value = _decode(raw)
    spelled = orjson.dumps(value, option=orjson.OPT_STRICT_INTEGER)
    is_composed = spelled.isascii() or unicodedata.is_normalized("NFC", spelled.decode())
    if not is_composed or raw.count(b":") != spelled.count(b":") or _ESCAPED_COLON.search(raw):
        raise ValueError("a key may be repeated")
    return value


def _read_strictly(text: str) -> Any:
    try:
        return _DECODER.decode(text.removeprefix("\ufeff"))
    except (ValueError, RecursionError) as error:
        raise ParseError("The body is not valid JSON.") from error


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if not all(map(str.isascii, result)):
        # Two spellings of a name (NFC, NFD) are a repeated key.
        result = {composed(name): value for name, value in pairs}
    if len(result) != len(pairs):
        raise ParseError("The body repeats a key of an object.")
    return result


def _int64(text: str) -> int:
    # int() takes quadratic time on longer literals, which would be refused anyway.
    if len(text) > 20 or (number := int(text)) not in _INT64:
        raise ParseError("The body has an integer beyond 64 bits.")
    return number


def _finite_float(text: str) -> int | float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ParseError("The body has a number beyond double precision.")
    return as_stored(number)


_decode = msgspec.json.Decoder(float_hook=_finite_float).decode


def _reject_constant(name: str) -> NoReturn:
    raise ParseError(f"{name} is not JSON.")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object_without_duplicates,
    parse_int=_int64,
    parse_float=_finite_float,
    parse_constant=_reject_constant,
)


def _reject_excess(raw: bytes) -> None:
    """Refuse JSON whose nesting or number of values makes it far costlier than its size."""
    if _is_surely_modest(raw):
        return
    # Brackets and commas inside strings do not count.
    bare = _TEXT.sub(b"", raw)
    containers = bare.count(b"[") + bare.count(b"{")
    if containers > MAX_CONTAINERS:
        raise ParseError(f"The body has more than {MAX_CONTAINERS} arrays and objects.")
    if containers + bare.count(b",") > MAX_VALUES:
        raise ParseError(f"The body has more than {MAX_VALUES} values.")
    if _depth(bare) > MAX_DEPTH:
        raise ParseError(f"The body is nested more than {MAX_DEPTH} levels deep.")


def _is_surely_modest(raw: bytes) -> bool:
    containers = raw.count(b"[") + raw.count(b"{")
    return (
        containers <= MAX_CONTAINERS
        and containers + raw.count(b",") <= MAX_VALUES
        and (containers <= MAX_DEPTH or _is_surely_shallow(raw))
    )


def _is_surely_shallow(raw: bytes) -> bool:
    """Tell cheaply, by removing innermost pairs of brackets again and again."""
    brackets = raw.translate(None, _NO_BRACKETS)
    for _ in range(_CHEAP_TURNS):
        brackets = brackets.replace(b"{}", b"").replace(b"[]", b"")
        if len(brackets) <= MAX_DEPTH:
            return True
    return False


def _depth(bare: bytes) -> int:
    brackets = bare.translate(None, _NO_BRACKETS)
    return max(accumulate(_STEPS[bracket] for bracket in brackets), default=0)


_CHEAP_TURNS = 10
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
# An unclosed string extends to the end: searching on from each of its quotes would take quadratic time.
_TEXT = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)


def _reject_unstorable_text(value: Any) -> None:
    _walk(value, _reject_text)


def _reject_text(text: str) -> None:
    if "\x00" in text:
        raise ParseError("The body has a NUL character.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ParseError("The body has a lone surrogate.") from error


def _walk(value: Any, check: Callable[[str], None]) -> None:
    match value:
        case str():
            check(value)
        case dict():
            for key, item in value.items():
                check(key)
                _walk(item, check)
        case list():
            for item in value:
                _walk(item, check)
        case _:
            return
