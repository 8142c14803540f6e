"""What contacts announce to the floors above."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from django.dispatch import Signal

Kind = Literal["created", "updated", "deleted", "subscribed", "unsubscribed", "tagged"]

# Sent once per service call, inside its transaction; sender=Contact, workspace_id: UUID,
# changes: list[ContactChange].
contacts_changed = Signal()


@dataclass(frozen=True, slots=True)
class ContactChange:
    """One thing that happened to a contact, with the old and new values of the changed keys only.

    Keys: `first_name`, `last_name`, `attributes` (its changed keys), a kind of identifier (the primary),
    `identifiers` (a list of `{"kind", "value"}`: added in `new`, gone in `old`), `tags`, `channel`, `status`.
    """

    contact_id: UUID
    kind: Kind
    old: Mapping[str, Any] = field(default_factory=dict)
    new: Mapping[str, Any] = field(default_factory=dict)
