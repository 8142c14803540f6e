"""References: how callers name a contact or company, and what to set on it."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import msgspec


class PastConsent(msgspec.Struct, frozen=True):
    """A consent as a file tells of it: when it was given, None where that is not known.

    It leaves alone what was said later, and without a time every opt-out; unless it `overwrites`.
    """

    status: str
    at: datetime | None = None
    overwrites: bool = False


class ContactChanges(msgspec.Struct, frozen=True):
    """What to set on a contact; None and absent keys leave things as they are."""

    first_name: str | None = None
    last_name: str | None = None
    # Merged key by key; the value None removes a key.
    attributes: Mapping[str, Any] = msgspec.field(default_factory=dict)
    # Added; the first of a kind becomes the primary one.
    identifiers: tuple[tuple[str, Any], ...] = ()
    tags: tuple[str, ...] = ()
    # Channel to status: what the person says now.
    consents: Mapping[str, str] = msgspec.field(default_factory=dict)
    # Take off the tags that the contact had.
    clear_tags: bool = False
    # By channel, what the person said before.
    past_consents: Mapping[str, PastConsent] = msgspec.field(default_factory=dict)


NO_CHANGES = ContactChanges()


class MergeScope(Enum):
    """How far a sender is believed on who is one person: whom it can make another contact's part."""

    ANONYMOUS = "anonymous"
    """Who is known by nothing but anonymous ids, and only into somebody who has an external id.

    Such an id is known to the person's own devices alone; and who has an external id is never taken for the user
    who comes to the same device later.
    """
    UNNAMED = "unnamed"
    """Who has no external id: a device that two users share does not make them one."""
    ANYBODY = "anybody"


class ContactReference(msgspec.Struct, frozen=True):
    """Which contact is meant: by id, else by identifiers in order of precedence, in the sender's spelling."""

    id: str | None = None
    identifiers: tuple[tuple[str, Any], ...] = ()
    if_missing: Literal["refuse", "create"] = "refuse"
    # Set `changes`, and the identifiers that did not find it, on a contact that exists.
    update_matched: bool = False
    # Of a contact that exists, set only what it lacks, and no tags: who says so is not known. Identifiers only from a
    # device of its own.
    fills_in: bool = False
    changes: ContactChanges = NO_CHANGES
    # An unknown id is no error: the identifiers decide.
    id_falls_back: bool = False
    # A contact that has identifiers of this kind, but none of the reference's, is somebody else: no other finds it.
    distinct_by: str = ""
    # Said to be identifiers of this person too: who else has one of them is reported as `apart`. One that is among
    # `identifiers` may only be shared: not if `distinct_by` says that it is somebody else.
    same_as: tuple[tuple[str, Any], ...] = ()
    # Who of these is merged.
    merges: MergeScope = MergeScope.ANONYMOUS


class Resolution(msgspec.Struct, frozen=True):
    """The contact that a reference means, and whether this very call made it."""

    contact_id: UUID
    created: bool
    # The one that the reference itself names, where it was merged into that contact.
    came_with: UUID | None = None
    # Other contacts, who by `same_as` are the same person.
    apart: tuple[UUID, ...] = ()


class CompanyReference(msgspec.Struct, frozen=True):
    """Which company is meant: by id, which wins, else by its name, by which it is made if there is none.

    With an `external_id`, another system's, it is found and made by that, and what is told is set on it.
    """

    id: object = None
    name: object = None
    website: object = ""
    industry: object = ""
    size: object = ""
    external_id: object = None
    # Merged key by key, into one that is there with `external_id` only; the value None removes a key.
    attributes: Mapping[str, Any] = msgspec.field(default_factory=dict)
