"""UploadHandler: files of multipart bodies, in temporary files of the folder that uploads are stored in."""

from __future__ import annotations

from contextlib import suppress
from typing import IO, Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler

from config.db.connection_slots import release_connection, restart_time
from config.errors import DomainError
from config.files.errors import FileTooLarge
from config.files.storage import disk_errors, temporary_file
from config.http.bodies import MULTIPART_BYTES


class UploadHandler(FileUploadHandler):
    """Keeps each file without a name, so that none is left behind. Only staff send large ones to a page."""

    chunk_size = 262_144
    _file: IO[bytes]

    def handle_raw_input(
        self,
        input_data: IO[bytes],
        META: dict[str, str],  # noqa: N803  (Django's name)
        content_length: int,
        boundary: str | bytes,
        encoding: str | None = None,
    ) -> None:
        """Refuse what is too large before it is read. Raises RequestDataTooBig."""
        user = getattr(self.request, "user", None)
        is_large = content_length > settings.MAX_BODY_BYTES
        if content_length > settings.MAX_UPLOAD_BYTES + MULTIPART_BYTES or (
            is_large and user is not None and not user.is_staff
        ):
            raise RequestDataTooBig
        release_connection()

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file."""
        super().new_file(*args, **kwargs)
        self._file = temporary_file()

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Write a piece. Raises FileTooLarge, UploadNotStored."""
        try:
            if start + len(raw_data) > settings.MAX_UPLOAD_BYTES:
                raise FileTooLarge(settings.MAX_UPLOAD_BYTES)
            with disk_errors():
                self._file.write(raw_data)
        except DomainError:
            self.upload_interrupted()
            raise

    def file_complete(self, file_size: int) -> UploadedFile[Any]:
        """Return the file."""
        with disk_errors():
            self._file.seek(0)
        return UploadedFile(self._file, self.file_name, self.content_type, file_size, self.charset)

    def upload_complete(self) -> None:
        """Count the request's time from here on."""
        restart_time()

    def upload_interrupted(self) -> None:
        """Give the file up."""
        if hasattr(self, "_file"):
            # A full disk takes no rest.
            with suppress(OSError):
                self._file.close()
