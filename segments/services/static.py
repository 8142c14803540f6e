"""Static segments: filled by hand, by list, by upload."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from segments.models import Segment
from workspaces.models import Workspace


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """What became of a list: entered or left, no change, and what no contact goes by (as it was written)."""

    changed: int
    unchanged: int
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MemberList:
    """Contacts as a list names them; identifiers are (kind, value), not normalised."""

    contact_ids: list[UUID] = field(default_factory=list)
    identifiers: list[tuple[str, str]] = field(default_factory=list)


def add_members(
    workspace: Workspace,
    segment: Segment,
    *,
    contact_ids: Sequence[UUID] = (),
    identifiers: Sequence[tuple[str, str]] = (),
) -> MembersChanged:
    """Put contacts into a static segment; their segment.entered events may start campaigns.

    Raises SegmentIsDynamic.
    """
    raise NotImplementedError


def remove_members(
    workspace: Workspace,
    segment: Segment,
    *,
    contact_ids: Sequence[UUID] = (),
    identifiers: Sequence[tuple[str, str]] = (),
) -> MembersChanged:
    """Take contacts out of a static segment. Raises SegmentIsDynamic."""
    raise NotImplementedError


def read_member_list(text: str) -> MemberList:
    """Read an uploaded list: a CSV with a header, or a contact a line.

    The header's columns may be id, contactId, email, phone, externalId; of a line the first that is filled
    counts. Without a header the first column is an id, an e-mail, a phone (+ and digits) or an external id,
    by its looks. Raises InvalidMemberList.
    """
    raise NotImplementedError
