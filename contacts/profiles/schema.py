"""A workspace's contact schema: declared fields, their types and checks, and the identity field."""

import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from django.conf import settings
from django.db import DatabaseError, connection, transaction

from config.db.statements import fetch_all, fetch_one
from config.http.rendering import iso_millis
from config.values.datetimes import is_timestamp, parse_timestamp
from config.values.json_size import has_too_many_keys
from contacts.errors import InvalidFieldValue
from contacts.identifiers import normalize_identifier
from contacts.models import Field, Identifier

MAX_TEXT = 65_536
MAX_NAME = 255
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """The type of a declared field, and what a text must look like."""

    type: str
    text: str = ""
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class ContactSchema:
    """The identity field and the declared fields of a workspace."""

    identity_field: str = Identifier.EMAIL
    fields: Mapping[str, FieldSpec] = field(default_factory=dict)


def load_schema(workspace_id: UUID) -> ContactSchema:
    """Read the schema, in one statement."""
    row = fetch_one(_SCHEMA, {"workspace": workspace_id})
    return ContactSchema() if row is None else schema_from(*row)


def schema_from(identity_field: str, fields: str) -> ContactSchema:
    """Return the schema that `SCHEMA_COLUMNS` spell."""
    specs = {
        name: FieldSpec(kind, (shape or {}).get("text") or "", (shape or {}).get("pattern") or "")
        for name, kind, shape in orjson.loads(fields)
    }
    return ContactSchema(identity_field, specs)


def check_attributes(schema: ContactSchema, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return `attributes` with the declared ones in their types; None, which removes, fits any.

    Raises InvalidFieldValue.
    """
    refuse_too_many(attributes)
    return {name: _checked(schema, name, value) for name, value in attributes.items()}


def refuse_too_many(attributes: Mapping[str, Any]) -> None:
    """Raise InvalidFieldValue for more than one contact may have."""
    if has_too_many_keys(attributes):
        raise InvalidFieldValue("attributes", f"an object of at most {settings.MAX_KEYS} keys")


def check_patterns(schema: ContactSchema, many: Iterable[Mapping[str, Any]]) -> set[tuple[str, str]]:
    """Return the (field, text) pairs that do not match their field's pattern, in one statement for all.

    PostgreSQL's expressions take linear time, unlike Python's, whatever pattern a workspace declares.
    """
    patterned = {name: spec.pattern for name, spec in schema.fields.items() if spec.pattern}
    pairs = sorted(
        {
            (name, value)
            for attributes in many
            for name, value in attributes.items()
            if name in patterned and isinstance(value, str) and "\x00" not in value
        }
    )
    if not pairs:
        return set()
    rows = fetch_all(
        _MISMATCHES,
        {
            "names": [name for name, _ in pairs],
            "values": [value for _, value in pairs],
            "patterns": [patterned[name] for name, _ in pairs],
        },
    )
    return {(name, value) for name, value in rows}


def is_pattern(text: str) -> bool:
    """Return whether `text` is a regular expression, without back-references: they take exponential time."""
    if len(text) > MAX_NAME or "\x00" in text or re.search(r"\\[1-9]", text):
        return False
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT '' ~ %s", [text])
    except DatabaseError:
        return False
    return True


def check_name(field: str, name: object) -> str:
    """Return a person's name, trimmed. Raises InvalidFieldValue if it is none or is too long."""
    if not isinstance(name, str) or "\x00" in name or len(name.strip()) > MAX_NAME:
        raise InvalidFieldValue(field, f"a text of at most {MAX_NAME} characters")
    return name.strip()


def _checked(schema: ContactSchema, name: str, value: Any) -> Any:
    if not isinstance(name, str) or not name.strip() or len(name) > MAX_NAME or "\x00" in name:
        raise InvalidFieldValue(str(name)[:MAX_NAME], "named by 1 to 255 characters")
    spec = schema.fields.get(name)
    if spec is None or value is None:
        return value
    coerce, expected = _TYPES[spec.type]
    coerced = coerce(value)
    if coerced is None:
        raise InvalidFieldValue(name, expected)
    if isinstance(coerced, str) and spec.text in _FORMATS and not _FORMATS[spec.text](coerced):
        raise InvalidFieldValue(name, f"a valid {spec.text}")
    return coerced


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return orjson.dumps(value).decode()
    return value if isinstance(value, str) and "\x00" not in value and len(value) <= MAX_TEXT else None


def _integer(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,19}\s*", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and value in _INT64 else None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, str):
        return {"true": True, "false": False, "1": True, "0": False}.get(value.strip().lower())
    if isinstance(value, int):
        return {1: True, 0: False}.get(value)
    return None


def _date(value: Any) -> str | None:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value.strip()):
        return None
    return value.strip() if parse_timestamp(value.strip()) is not None else None


def _datetime(value: Any) -> str | None:
    moment = (
        parse_timestamp(value.strip()) if isinstance(value, str) and is_timestamp(value.strip()) else None
    )
    return None if moment is None else iso_millis(moment)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return len(text) in (32, 36)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc) and not any(map(str.isspace, text))


_TYPES: Final[dict[str, tuple[Callable[[Any], Any], str]]] = {
    Field.Type.TEXT: (_text, "a text"),
    Field.Type.INTEGER: (_integer, "an integer"),
    Field.Type.BOOLEAN: (_boolean, "true or false"),
    Field.Type.DATE: (_date, "a date such as 2026-01-31"),
    Field.Type.DATETIME: (_datetime, "a date and time such as 2026-01-31T12:00:00Z"),
}

# The format "regex" is checked by check_patterns, for all contacts of a call at once.
_FORMATS: Final[dict[str, Callable[[str], bool]]] = {
    "email": lambda text: normalize_identifier(Identifier.EMAIL, text) is not None,
    "phone": lambda text: normalize_identifier(Identifier.PHONE, text) is not None,
    "uuid": _is_uuid,
    "url": _is_url,
}

SCHEMA_COLUMNS: Final = """w.identity_field, (
    SELECT coalesce(jsonb_agg(jsonb_build_array(f.name, f.type, f.format)), '[]')::varchar
    FROM contacts_field f WHERE f.workspace_id = %(workspace)s
)"""

_SCHEMA: Final = f"SELECT {SCHEMA_COLUMNS} FROM workspaces_workspace w WHERE w.id = %(workspace)s"

_MISMATCHES: Final = """
SELECT name, value
FROM unnest(%(names)s::text[], %(values)s::text[], %(patterns)s::text[]) AS wanted (name, value, pattern)
WHERE value !~ pattern
"""
