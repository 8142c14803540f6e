"""Who is in a segment, who was, and why."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from segments.models import Segment


@dataclass(frozen=True, slots=True)
class Member:
    """A contact in a segment; `until` is None while it stays."""

    contact_id: UUID
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a contact is in a segment, and why.

    `is_member` is what stands, `matches` what the rule says now: they differ for moments only, while events wait
    for their effects, or for longer where the segment is parked. `tree` is explain_contact's; None: static, or
    never published. `changes_at` is when time alone may change the answer.
    """

    contact_id: UUID
    is_member: bool
    since: datetime | None
    matches: bool
    changes_at: datetime | None
    tree: dict[str, Any] | None
    at: datetime


def members(
    workspace_id: UUID, segment: Segment, *, after: UUID | None = None, limit: int = 100
) -> list[Member]:
    """Return who is in the segment, by contact id, those after `after` only."""
    raise NotImplementedError


def members_at(
    workspace_id: UUID, segment: Segment, at: datetime, *, after: UUID | None = None, limit: int = 100
) -> list[Member]:
    """Return who was in the segment at a moment, by contact id, those after `after` only."""
    raise NotImplementedError


def count_members(workspace_id: UUID, segments: list[Segment]) -> dict[UUID, int]:
    """Return the number of members, by the segment's id, in one statement."""
    raise NotImplementedError


def segments_of(workspace_id: UUID, contact_id: UUID) -> list[tuple[Segment, datetime]]:
    """Return the segments that a contact is in, and since when, by name."""
    raise NotImplementedError


def explain_membership(workspace_id: UUID, segment: Segment, contact_id: UUID) -> Explanation:
    """Return why a contact is in the segment or not, by what serves. Raises ContactNotFound."""
    raise NotImplementedError
