"""Bodies that are files: a form with a part `file`, or nothing but the file; parameters also in the address."""

from __future__ import annotations

from typing import IO, Any, Final, NamedTuple

from django.conf import settings
from django.http.multipartparser import MultiPartParser
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from config.db.connection_slots import away_from_database
from config.files.errors import FileTooLarge, LengthRequired
from config.files.received import ReceivedFile, receive
from config.files.upload_handler import UploadHandler
from config.http.json import UnsupportedEncoding
from contacts.errors import UploadRefused
from workspaces.api.base import SingleFormatNegotiation

_FORM: Final = "multipart/form-data"
_CHUNKED: Final = "HTTP_TRANSFER_ENCODING"
_MAX_MAP_BYTES: Final = 100_000


class Upload(NamedTuple):
    """What a request sent: its parameters with the file's hash, which makes two requests the same, and the file."""

    data: dict[str, Any]
    files: dict[str, ReceivedFile]


class AnyMediaType(SingleFormatNegotiation):
    """Take a body whatever it is called: of a file the content decides."""

    def select_parser(self, request: Request, parsers: Any) -> BaseParser:
        """Return the only parser."""
        (parser,) = parsers
        return parser  # type: ignore[no-any-return]  # DRF's views have any


class UploadParser(BaseParser):
    """Takes an uploaded file in as it arrives; no database connection is held meanwhile."""

    media_type = "*/*"

    def parse(self, stream: Any, media_type: str | None = None, parser_context: Any = None) -> Any:
        """Return the upload. Raises UploadRefused, FileTooLarge, DamagedFile, and what reading a body raises."""
        request: Request = parser_context["request"]
        meta = request.META
        is_form = (media_type or "").partition(";")[0].strip().lower() == _FORM
        encoding = meta.get("HTTP_CONTENT_ENCODING", "").strip().lower()
        # A packed file is recognised by itself.
        if encoding not in ("", "identity") and (is_form or encoding not in ("gzip", "x-gzip")):
            raise UnsupportedEncoding
        if int(meta.get("CONTENT_LENGTH") or 0) > settings.MAX_UPLOAD_BYTES and not (
            is_form or _CHUNKED in meta
        ):
            raise FileTooLarge(settings.MAX_UPLOAD_BYTES)
        parameters = request.query_params.dict()
        with away_from_database():
            if is_form:
                fields, received = _read_form(meta, stream)
            else:
                fields, received = {}, _read_body(meta, stream)
        if twice := sorted(parameters.keys() & fields.keys()):
            received.close()
            raise UploadRefused(twice[0], "This is in the address and in the form.")
        of_file = {"fingerprint": received.fingerprint, "size": received.size, "name": received.name}
        return Upload({**parameters, **fields, "file": of_file}, {"file": received})


class _Body:
    """The body of a request as a stream of bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def read(self, size: int, /) -> bytes:
        """Return at most so many bytes."""
        return self._stream.read(size)


def _read_body(meta: Any, stream: Any) -> ReceivedFile:
    is_length_known = _CHUNKED not in meta
    return receive(_Body(stream), "upload", settings.MAX_UPLOAD_BYTES, is_length_known=is_length_known)


def _read_form(meta: Any, stream: Any) -> tuple[dict[str, Any], ReceivedFile]:
    """Return the fields of a form and its file."""
    if _CHUNKED in meta:
        raise LengthRequired
    posted, files = MultiPartParser(meta, stream, [UploadHandler()]).parse()
    try:
        fields: dict[str, Any] = posted.dict()
        if "map" in files:
            fields["map"] = _map_text(files["map"])
        given = files.getlist("file")
        if unknown := sorted(set(files) - {"file", "map"}):
            raise UploadRefused(unknown[0], "This is no file that is taken.")
        if len(given) != 1 or "file" in fields:
            raise UploadRefused("file", "One file is required, as a part of the form with a file name.")
        return fields, receive(given[0].file, given[0].name or "upload", settings.MAX_UPLOAD_BYTES)
    finally:
        for file in (file for name in files for file in files.getlist(name)):
            file.close()


def _map_text(file: Any) -> str:
    if file.size > _MAX_MAP_BYTES:
        raise UploadRefused("map", f"A map has at most {_MAX_MAP_BYTES:,} bytes.")
    try:
        return str(file.read().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UploadRefused("map", "The map is not valid UTF-8.") from error
