"""Exports, read whole."""

import json
from typing import Any
from uuid import UUID

from contacts.erasure.erasures import write_export
from contacts.models import Contact


def exported(workspace_id: UUID, contact: Contact) -> dict[str, Any]:
    """Return what an export of a person says, table by table."""
    parts: list[bytes] = []
    write_export(workspace_id, contact, parts.append)
    exported: dict[str, Any] = json.loads(b"".join(parts))
    return exported
