"""Errors of files: unreadable, damaged, of an unknown form."""

from config.errors import DomainError, UnavailableError


class UnreadableFile(DomainError):
    """The file cannot be opened, or is none of a known form."""

    code = "unreadable_file"


class DamagedFile(DomainError):
    """The file ends early or is corrupt from some place on; what came before was read."""

    code = "damaged_file"


class InvalidMapping(DomainError):
    """A mapping of columns to fields says what it may not."""

    code = "invalid_mapping"


class RowRefused(DomainError):
    """A row that is not taken, with the cause."""

    code = "row_refused"


class FileTooLarge(DomainError):
    """A file is larger than it may be, as it was sent or unpacked."""

    code = "file_too_large"

    def __init__(self, most_bytes: int) -> None:
        super().__init__(f"The file is larger than {most_bytes:,} bytes, as it was sent or unpacked")


class LengthRequired(DomainError):
    """A file whose length was not told, and which does not tell itself where it ends: it may have been cut off."""

    code = "length_required"
    message = (
        "Send the file with a Content-Length, or as gzip: nobody can tell whether a body in chunks is whole"
    )


class UploadNotStored(UnavailableError):
    """The storage of uploads cannot take a file now."""

    code = "upload_not_stored"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The file cannot be stored now: {reason}")
