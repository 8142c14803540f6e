"""Signals of contacts, sent inside the transaction; docs/signals.md lists the receivers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from django.dispatch import Signal

Kind = Literal["created", "updated", "deleted", "subscribed", "unsubscribed", "tagged", "merged", "unmerged"]

# Sent once per service call, inside its transaction; sender=Contact, workspace_id: UUID,
# changes: list[ContactChange].
contacts_changed = Signal()

# Sent before contacts are locked for a merge, its undo or an erasure, inside the transaction, so that whoever works
# on them can be waited for; sender=Merge or Erasure, workspace_id: UUID, contact_ids: Collection[UUID].
reassigning_contacts = Signal()

# Sent when contacts read as another one than before, inside the transaction; sender=Merge, workspace_id: UUID,
# moved: Sequence[UUID], old_survivor: UUID, new_survivor: UUID.
contacts_reassigned = Signal()


@dataclass(frozen=True, slots=True)
class ContactChange:
    """One thing that happened to a contact, with the old and new values of the changed keys only.

    Keys: `first_name`, `last_name`, `attributes` (its changed keys), a kind of identifier (the primary),
    `identifiers` (a list of `{"kind", "value"}`: added in `new`, gone in `old`), `tags`, `channel`, `status`,
    `company` (the id of one that it belongs to now).
    Of a merge: what the survivor took over, and `merge_id`, `survivor_id` and `merged_id` in `new`; of its undo:
    what it gave back in `old`, and the same ids in `new`, told of both.
    """

    contact_id: UUID
    kind: Kind
    old: Mapping[str, Any] = field(default_factory=dict)
    new: Mapping[str, Any] = field(default_factory=dict)


Effects = Literal["none", "scores-and-segments", "all"]
"""Which effects a change of contacts may have, by the names of an import."""
_effects: ContextVar[Effects] = ContextVar("effects_of_changes", default="all")


@contextmanager
def limit_effects(effects: Effects) -> Iterator[None]:
    """Let changes of contacts that are made within have no more effects than these: they are history."""
    token = _effects.set(effects)
    try:
        yield
    finally:
        _effects.reset(token)


def effects_of_changes() -> Effects:
    """Return which effects changes of contacts may have here."""
    return _effects.get()
