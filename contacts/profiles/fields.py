"""Create and update declared contact fields, and choose the identity field."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from config.db.bulk import insert_rows, update_rows
from config.ids import ordered_uuid7, parse_uuid
from config.values.names import composed
from contacts.errors import (
    FieldNameTaken,
    FieldNotFound,
    IdentityFieldLocked,
    InvalidFieldFormat,
    InvalidFieldName,
    InvalidFieldType,
    InvalidIdentityField,
)
from contacts.models import Contact, Field, Identifier
from contacts.profiles.schema import is_pattern
from workspaces.models import Workspace

MAX_NAME_LENGTH: Final = 64
# What a contact has without any declaration, in the spellings of all formats.
RESERVED_NAMES: Final = frozenset(
    {
        "id", "uuid", "workspace", "workspace_id", "contact_id", "attributes", "identifiers", "identities",
        "provider", "subscribed", "unsubscribed", "tags", "score", "consents", "events", "segments",
        "created_at", "updated_at", "deleted_at", "merged_into",
        "email", "phone", "external_id", "anonymous_id", "first_name", "last_name",
    }
)  # fmt: skip
IDENTITY_TYPES: Final = frozenset({Field.Type.TEXT, Field.Type.INTEGER})
BUILT_IN_IDENTITIES: Final = frozenset({Identifier.EMAIL, Identifier.PHONE, Identifier.EXTERNAL_ID})
# A tuple: what a client sends may be no text at all, nor hashable.
_TEXT_FORMATS: Final = ("email", "phone", "uuid", "url", "regex")


class FieldEdits:
    """New and changed fields of a workspace, checked one by one and written together, in one transaction."""

    def __init__(self, workspace_id: UUID) -> None:
        self.workspace_id = workspace_id
        self._created: list[Field] = []
        self._changed: list[Field] = []

    def create(self, name: object, type: object, format: Mapping[str, Any] | None = None) -> Field:
        """Return a new field, as `create_field` does."""
        checked = _checked_name(name)
        if type not in Field.Type.values:
            raise InvalidFieldType(type)
        _check_format(str(type), format)
        # Lists are in the order of ids: fields that are declared within one millisecond, too, stay in their order.
        field = Field(
            id=ordered_uuid7(), workspace_id=self.workspace_id, name=checked, type=str(type), format=format
        )
        self._created.append(field)
        return field

    def change_format(self, field: Field, format: Any) -> Field:
        """Change what values a field has. Raises InvalidFieldFormat."""
        _check_format(field.type, format)
        field.format = format
        self._changed.append(field)
        return field

    def write(self) -> None:
        """Write what was created and changed. Raises FieldNameTaken."""
        fields = Field.objects.in_workspace(self.workspace_id)
        insert_rows(self._created, ignore_conflicts=True)
        names = [field.name for field in self._created]
        ids = dict(fields.filter(name__in=names).values_list("name", "id")) if names else {}
        for field in self._created:
            if ids.get(field.name) != field.id:
                raise FieldNameTaken(field.name)
        update_rows(fields, self._changed, ["format"])


@transaction.atomic
def create_field(
    workspace_id: UUID, name: object, type: object, format: Mapping[str, Any] | None = None
) -> Field:
    """Declare a field. Raises InvalidFieldName, InvalidFieldType, InvalidFieldFormat, FieldNameTaken."""
    edits = FieldEdits(workspace_id)
    field = edits.create(name, type, format)
    edits.write()
    return field


@transaction.atomic
def update_field(workspace: Workspace, field: Field, *, name: object = None, format: Any = ...) -> Field:
    """Rename a field or change its format; the type stays, because values of it are stored.

    Raises InvalidFieldName, InvalidFieldFormat, FieldNameTaken, IdentityFieldLocked.
    """
    if name is not None and (checked := _checked_name(name)) != field.name:
        if workspace.identity_field == field.name:
            raise IdentityFieldLocked
        if Field.objects.in_workspace(workspace.id).filter(name=checked).exists():
            raise FieldNameTaken(checked)
        field.name = checked
        field.save(update_fields=["name"])
    if format is not ...:
        edits = FieldEdits(workspace.id)
        edits.change_format(field, format)
        edits.write()
    return field


@transaction.atomic
def delete_field(workspace: Workspace, field: Field) -> None:
    """Delete a field; contacts keep their values. Raises IdentityFieldLocked for what names contacts."""
    if workspace.identity_field == field.name:
        raise IdentityFieldLocked
    field.delete()


def find_field(workspace_id: UUID, text: object) -> Field:
    """Return a field by its id. Raises FieldNotFound."""
    field_id = parse_uuid(text)
    field = Field.objects.in_workspace(workspace_id).filter(id=field_id).first() if field_id else None
    if field is None:
        raise FieldNotFound
    return field


def check_identity_field(workspace_id: UUID, name: str) -> None:
    """Check that a field can identify a workspace's contacts. Raises InvalidIdentityField, IdentityFieldLocked."""
    current = Workspace.objects.filter(id=workspace_id).values_list("identity_field", flat=True).first()
    if name == current:
        return
    declared = Field.objects.in_workspace(workspace_id).filter(name=name, type__in=IDENTITY_TYPES)
    if name not in BUILT_IN_IDENTITIES and not declared.exists():
        raise InvalidIdentityField(name)
    if Contact.objects.in_workspace(workspace_id).exists():
        raise IdentityFieldLocked


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or "\x00" in name:
        raise InvalidFieldName(name)
    checked = composed(name.strip())
    if not checked or len(checked) > MAX_NAME_LENGTH or checked.lower() in RESERVED_NAMES:
        raise InvalidFieldName(checked)
    return checked


def _check_format(type: str, format: Mapping[str, Any] | None) -> None:
    if format is None:
        return
    if not isinstance(format, Mapping):
        raise InvalidFieldFormat
    text = format.get("text")
    if text is not None and (type != Field.Type.TEXT or text not in _TEXT_FORMATS):
        raise InvalidFieldFormat
    pattern = format.get("pattern")
    if text == "regex" and not (isinstance(pattern, str) and pattern and is_pattern(pattern)):
        raise InvalidFieldFormat("A regex needs a pattern")
    if pattern is not None and text != "regex":
        raise InvalidFieldFormat("Only a regex has a pattern")
