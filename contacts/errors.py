"""Errors of contacts: not found, taken, invalid, in progress."""

from uuid import UUID

from config.errors import ConflictError, DomainError, NotFoundError, UnavailableError


class ContactNotFound(NotFoundError):
    """The workspace has no such contact."""

    code = "contact_not_found"
    message = "Contact not found"


class NoIdentity(DomainError):
    """There is nothing to identify or to create a contact by."""

    code = "no_identity"

    def __init__(self, field: str = "") -> None:
        super().__init__(f"The {field} is required" if field else "Nothing identifies the contact")
        self.field = field


class IdentifierTaken(ConflictError):
    """Another contact of the workspace is known by this."""

    code = "identifier_taken"

    def __init__(self, kind: str, value: str) -> None:
        super().__init__(f"Another contact has this {kind}")
        self.kind = kind
        self.value = value


class InvalidIdentifier(DomainError):
    """A value cannot be an identifier of its kind."""

    code = "invalid_identifier"

    def __init__(self, kind: str, value: object) -> None:
        super().__init__(f"This is not a valid {kind}")
        self.kind = kind
        self.value = value


class InvalidFieldValue(DomainError):
    """A value does not fit the field it is for."""

    code = "invalid_field_value"

    def __init__(self, field: str, expected: str = "") -> None:
        super().__init__(f"The {field} must be {expected}" if expected else f"The {field} is invalid")
        self.field = field
        self.expected = expected


class CompanyNotFound(NotFoundError):
    """The workspace has no such company."""

    code = "company_not_found"
    message = "Company not found"


class FieldNotFound(NotFoundError):
    """The workspace has no such contact field."""

    code = "field_not_found"
    message = "Field not found"


class FieldNameTaken(ConflictError):
    """The workspace already has a contact field of this name."""

    code = "field_name_taken"

    def __init__(self, name: str) -> None:
        super().__init__(f"A field named {name} already exists")
        self.name = name


class InvalidFieldName(DomainError):
    """The name is empty, too long, or one that every contact has a meaning for."""

    code = "invalid_field_name"

    def __init__(self, name: object) -> None:
        super().__init__(f"{name} cannot name a field" if name else "A field needs a name")
        self.name = name


class InvalidFieldType(DomainError):
    """There is no such type of field."""

    code = "invalid_field_type"

    def __init__(self, type: object) -> None:
        super().__init__("The type must be text, integer, date, datetime or boolean")
        self.type = type


class InvalidFieldFormat(DomainError):
    """The format does not suit the field's type, or its pattern is none."""

    code = "invalid_field_format"

    def __init__(self, message: str = "The format does not suit the field") -> None:
        super().__init__(message)


class InvalidIdentityField(DomainError):
    """Only email, phone, external_id or a declared text or integer field can name a contact."""

    code = "invalid_identity_field"

    def __init__(self, name: object) -> None:
        super().__init__(f"{name} cannot be the identity field")
        self.name = name


class IdentityFieldLocked(ConflictError):
    """The identity field cannot change while the workspace has contacts."""

    code = "identity_field_locked"
    message = "The identity field cannot change while the workspace has contacts"


class SelfMerge(DomainError):
    """A contact cannot be merged into itself."""

    code = "self_merge"
    message = "A contact cannot be merged into itself"


class AlreadyMerged(ConflictError):
    """The contact is part of another one already."""

    code = "already_merged"

    def __init__(self, survivor_id: UUID) -> None:
        super().__init__(f"The contact was merged into {survivor_id} already")
        self.survivor_id = survivor_id


class MergeCycle(ConflictError):
    """The contact that was to survive is part of the one to be merged."""

    code = "merge_cycle"
    message = "The contact is itself part of the one that was to be merged into it"


class MergeNotFound(NotFoundError):
    """The workspace has no such merge."""

    code = "merge_not_found"
    message = "Merge not found"


class MergeUndone(ConflictError):
    """The merge was undone before."""

    code = "merge_undone"
    message = "The merge was undone already"


class MergeInProgress(ConflictError):
    """What was merged, or parted, is still being moved."""

    code = "merge_under_way"

    def __init__(self, merge_id: UUID) -> None:
        super().__init__(f"The merge {merge_id} of this contact, or its undo, is still under way")
        self.merge_id = merge_id


class PersonErased(ConflictError):
    """The identifier is one of somebody who was erased, and is not to be stored again."""

    code = "person_erased"

    def __init__(self, kind: str) -> None:
        super().__init__(f"Whoever has this {kind} was erased and is not stored again")
        self.kind = kind


class ErasureNotFound(NotFoundError):
    """The workspace has no such erasure."""

    code = "erasure_not_found"
    message = "Erasure not found"


class ForeignErasureKey(DomainError):
    """Records of erasures were made under another ERASURE_KEY: by their hashes nobody would be recognised."""

    code = "foreign_erasure_key"
    message = "The records of erasures are not of this installation's ERASURE_KEY"


class ImportRunning(ConflictError):
    """Another process imports the same file, and has moved on."""

    code = "import_running"

    def __init__(self, import_id: UUID) -> None:
        super().__init__(f"Another process is at the import {import_id}")
        self.import_id = import_id


class ImportCancelled(ConflictError):
    """The import was cancelled; what was recorded stays."""

    code = "import_cancelled"

    def __init__(self, import_id: UUID) -> None:
        super().__init__(f"The import {import_id} was cancelled")
        self.import_id = import_id


class ImportEnded(ConflictError):
    """The import is over: there is nothing to cancel."""

    code = "import_ended"

    def __init__(self, status: str) -> None:
        super().__init__(f"The import is {status} already")


class ImportNotFound(NotFoundError):
    """The workspace has no such import."""

    code = "import_not_found"
    message = "Import not found"


class RefusedRowsElsewhere(NotFoundError):
    """A command wrote the refused rows into a file."""

    code = "refused_rows_elsewhere"

    def __init__(self) -> None:
        super().__init__("A command runs this import: its refused rows are in a file where it runs")


class RefusedRowsPurged(NotFoundError):
    """The refused rows were kept long enough."""

    code = "refused_rows_purged"
    message = "The refused rows were deleted, some days after the import"


class UploadRefused(DomainError):
    """An upload is not as it must be; `details` say which field."""

    code = "upload_refused"

    def __init__(self, field: str, message: str) -> None:
        super().__init__("Validation failed")
        self.details = {field: [message]}


class ImportProcessLost(UnavailableError):
    """Of the processes that record a file together, one was killed."""

    code = "import_process_lost"
    message = "A process of the import has ended; the import goes on where it stopped when it is run again"
