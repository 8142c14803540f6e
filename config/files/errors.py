"""Errors of files: unreadable, damaged, of an unknown form."""

from config.errors import DomainError


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
