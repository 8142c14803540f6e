"""The storage of uploads (`STORAGES["uploads"]`): on disk, and there before it is answered."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages

ALIAS: Final = "uploads"


class DurableStorage(FileSystemStorage):
    """Files of a folder, each on the disk once it is saved."""

    def _save(self, name: str, content: File[Any]) -> str:
        saved: str = super()._save(name, content)  # type: ignore[misc]  # the stubs leave it out
        path = Path(self.path(saved))
        for synced in (path, path.parent, path.parent.parent):
            descriptor = os.open(synced, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return saved

    def delete(self, name: str) -> None:
        """Delete a file, and its folder once it is empty."""
        super().delete(name)
        with suppress(OSError):
            Path(self.path(name)).parent.rmdir()


def upload_storage() -> Storage:
    """Return the storage of uploads."""
    return storages[ALIAS]


def temporary_file() -> IO[bytes]:
    """Return a file without a name: whatever is killed, it is gone with its process."""
    settings.UPLOADS_FOLDER.mkdir(parents=True, exist_ok=True, mode=0o700)
    return TemporaryFile(dir=settings.UPLOADS_FOLDER)
