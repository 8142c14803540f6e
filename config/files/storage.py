"""The storage of uploads (`STORAGES["uploads"]`): on disk, and there before it is answered."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages

from config.files.errors import UploadNotStored

ALIAS: Final = "uploads"


class DurableStorage(FileSystemStorage):
    """Files of a folder, each on the disk once it is saved."""

    def _save(self, name: str, content: File[Any]) -> str:
        saved = self._link(name, content) or super()._save(name, content)  # type: ignore[misc]  # the stubs leave it out
        path = Path(self.path(saved))
        for synced in (path, path.parent, path.parent.parent):
            descriptor = os.open(synced, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return saved

    def _link(self, name: str, content: File[Any]) -> str:
        """Give a temporary file of this disk its name, which takes no time; "" where that cannot be."""
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True, mode=self.directory_permissions_mode or 0o777)
        try:
            descriptor = content.fileno()
            os.link(f"/proc/self/fd/{descriptor}", path, follow_symlinks=True)
            os.fchmod(descriptor, self.file_permissions_mode or 0o600)
        except (OSError, AttributeError):
            return ""
        return name

    def delete(self, name: str) -> None:
        """Delete a file, and its folder once it is empty."""
        super().delete(name)
        with suppress(OSError):
            Path(self.path(name)).parent.rmdir()


class StorageError(OSError):
    """A storage that is no folder has failed, in its own way."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise what a storage raises as an OSError: those of object stores have no base in common."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise StorageError(f"{type(error).__name__}: {error}") from error


def upload_storage() -> Storage:
    """Return the storage of uploads."""
    return storages[ALIAS]


@contextmanager
def disk_errors() -> Iterator[None]:
    """Raise UploadNotStored where a disk is full, say."""
    try:
        yield
    except OSError as error:
        raise UploadNotStored(error.strerror or str(error)) from error


def temporary_file() -> IO[bytes]:
    """Return a file without a name: whatever is killed, it is gone with its process. Raises UploadNotStored."""
    with disk_errors():
        return _unnamed_file()


def _unnamed_file() -> IO[bytes]:
    folder = settings.UPLOADS_FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        # Python's own could never be given a name.
        return os.fdopen(os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600), "w+b")
    except (AttributeError, OSError):
        return TemporaryFile(dir=folder)
