"""Fill static segments: by hand, by list, by upload."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db import transaction

from config import clock
from config.db.statements import fetch_all
from config.ids import parse_uuid
from contacts.identifiers import normalize_identifier
from contacts.identity.lookup import find
from contacts.models import Identifier
from events.stream.derived_events import record_derived_events
from segments.errors import InvalidMemberList, SegmentIsDynamic, SegmentNotFound
from segments.models import Segment
from segments.publication import MembershipChange, derived_event_of, publish_changes

MAX_ROWS: Final = 100_000
"""Of one uploaded list."""


@dataclass(frozen=True, slots=True)
class MembersChanged:
    """Outcome of a list: entered or left, unchanged, and entries that name no contact (as written)."""

    changed: int
    unchanged: int
    unknown: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MemberList:
    """Contacts named by a list; identifiers are (kind, value), not normalized."""

    contact_ids: list[UUID] = field(default_factory=list)
    identifiers: list[tuple[str, str]] = field(default_factory=list)


@transaction.atomic
def add_members(
    workspace_id: UUID,
    segment: Segment,
    *,
    contact_ids: Sequence[UUID] = (),
    identifiers: Sequence[tuple[str, str]] = (),
) -> MembersChanged:
    """Add contacts to a static segment; their segment.entered events may start campaigns.

    Raises SegmentIsDynamic.
    """
    segment = _held(workspace_id, segment)
    found, unknown = _found(workspace_id, contact_ids, identifiers)
    found = _keep(workspace_id, found)
    now = clock.now()
    rows = fetch_all(
        "INSERT INTO segments_membership (id, workspace_id, segment_id, version, contact_id, since)"
        " SELECT gen_random_uuid(), %s, %s, %s, wanted.id, %s FROM unnest(%s::uuid[]) AS wanted (id)"
        " WHERE NOT EXISTS (SELECT 1 FROM segments_membership m"
        "  JOIN contacts_contact c ON c.workspace_id = %s AND c.id = m.contact_id"
        "  WHERE m.workspace_id = %s AND m.version = %s AND c.merged_into_id = wanted.id)"
        " ON CONFLICT (workspace_id, version, contact_id) DO NOTHING RETURNING contact_id",
        [
            workspace_id,
            segment.id,
            segment.version,
            now,
            found,
            workspace_id,
            workspace_id,
            segment.version,
        ],
    )
    changed = [contact_id for (contact_id,) in rows]
    _publish(segment, [MembershipChange(segment.id, contact_id, True, now) for contact_id in changed])
    return MembersChanged(len(changed), len(found) - len(changed), unknown)


@transaction.atomic
def remove_members(
    workspace_id: UUID,
    segment: Segment,
    *,
    contact_ids: Sequence[UUID] = (),
    identifiers: Sequence[tuple[str, str]] = (),
) -> MembersChanged:
    """Remove contacts from a static segment. Raises SegmentIsDynamic."""
    segment = _held(workspace_id, segment)
    found, unknown = _found(workspace_id, contact_ids, identifiers)
    now = clock.now()
    # A contact that was merged since is in by what it came with.
    rows = fetch_all(
        "DELETE FROM segments_membership m USING contacts_contact c WHERE m.workspace_id = %s"
        " AND m.version = %s AND c.workspace_id = %s AND c.id = m.contact_id"
        " AND (c.id = ANY(%s::uuid[]) OR c.merged_into_id = ANY(%s::uuid[]))"
        " RETURNING m.contact_id, COALESCE(c.merged_into_id, c.id)",
        [workspace_id, segment.version, workspace_id, found, found],
    )
    _publish(segment, [MembershipChange(segment.id, contact_id, False, now) for contact_id, _ in rows])
    changed = len({survivor for _, survivor in rows})
    return MembersChanged(changed, len(found) - changed, unknown)


def read_member_list(text: str) -> MemberList:
    """Parse an uploaded list: CSV with a header, or one contact a line.

    Header columns: id, contactId, email, phone, externalId, divided by commas, semicolons or tabs; the first filled
    one of a line counts. Without a header commas divide, and the first column is recognised as an id, an e-mail, a
    phone (+ and digits) or else an external id. Raises InvalidMemberList.
    """
    rows = _rows(text)
    if not rows:
        return MemberList()
    kinds = [_kind_of_column(cell) for cell in rows[0]]
    if any(kinds):
        return _read(_first_filled(row, kinds) for row in rows[1:])
    return _read((_kind_of(row[0]), row[0]) if row[0] else None for row in rows)


_ID: Final = "id"
_COLUMNS: Final = {
    "id": _ID,
    "contactid": _ID,
    "email": Identifier.EMAIL,
    "phone": Identifier.PHONE,
    "externalid": Identifier.EXTERNAL_ID,
}


_MARKS: Final = re.compile(r"[-_ \"]")


def _rows(text: str) -> list[list[str]]:
    lines = text.removeprefix("\ufeff").splitlines()
    try:
        rows = [
            [cell.strip() for cell in row]
            for row in csv.reader(lines, delimiter=_delimiter_of(lines), strict=True)
            if any(cell.strip() for cell in row)
        ]
    except csv.Error as error:
        raise InvalidMemberList(f"The list is no CSV: {error}.") from error
    if len(rows) > MAX_ROWS:
        raise InvalidMemberList(f"A list may have at most {MAX_ROWS} rows.")
    return rows


def _delimiter_of(lines: Sequence[str]) -> str:
    """Return the delimiter of a header; spreadsheets write semicolons in many countries."""
    header = lines[0] if lines else ""
    divides = (mark for mark in ",;\t" if any(map(_kind_of_column, header.split(mark))))
    return next(divides, ",")


def _kind_of_column(name: str) -> str | None:
    return _COLUMNS.get(_MARKS.sub("", name.lower()))


def _first_filled(row: Sequence[str], kinds: Sequence[str | None]) -> tuple[str, str] | None:
    filled = ((kind, cell) for cell, kind in zip(row, kinds, strict=False) if cell and kind is not None)
    return next(filled, None)


def _kind_of(text: str) -> str:
    if parse_uuid(text) is not None:
        return _ID
    if "@" in text:
        return Identifier.EMAIL
    return Identifier.PHONE if text.startswith("+") else Identifier.EXTERNAL_ID


def _read(named: Iterable[tuple[str, str] | None]) -> MemberList:
    members = MemberList()
    for member in named:
        if member is None:
            continue
        kind, text = member
        if kind != _ID:
            members.identifiers.append((kind, text))
        elif (contact_id := parse_uuid(text)) is not None:
            members.contact_ids.append(contact_id)
        else:
            raise InvalidMemberList(f'"{text[:40]}" is not the id of a contact.')
    return members


def _held(workspace_id: UUID, segment: Segment) -> Segment:
    """Lock the segment, so that it is not deleted meanwhile."""
    held = Segment.objects.in_workspace(workspace_id).select_for_update(no_key=True).filter(id=segment.id)
    row = held.first()
    if row is None:
        raise SegmentNotFound
    if not row.is_static:
        raise SegmentIsDynamic
    return row


def _found(
    workspace_id: UUID, contact_ids: Sequence[UUID], identifiers: Sequence[tuple[str, str]]
) -> tuple[list[UUID], list[str]]:
    """Return the canonical contacts of the list, and entries that name none."""
    normalized = [(text, (kind, normalize_identifier(kind, text) or "")) for kind, text in identifiers]
    found = find(workspace_id, list(set(contact_ids)), {key for _, key in normalized if key[1]})
    known = {found.by_id[contact_id] for contact_id in contact_ids if contact_id in found.by_id}
    known |= {found.by_identifier[key] for _, key in normalized if key in found.by_identifier}
    unknown = [str(contact_id) for contact_id in contact_ids if contact_id not in found.by_id]
    unknown += [text for text, key in normalized if key not in found.by_identifier]
    return sorted(known), list(dict.fromkeys(unknown))


def _keep(workspace_id: UUID, contact_ids: Sequence[UUID]) -> list[UUID]:
    """Lock the contacts against deletion until the commit; return those that exist."""
    rows = fetch_all(
        "SELECT id FROM contacts_contact WHERE workspace_id = %s AND id = ANY(%s) ORDER BY id FOR KEY SHARE",
        [workspace_id, list(contact_ids)],
    )
    return [contact_id for (contact_id,) in rows]


def _publish(segment: Segment, moves: Sequence[MembershipChange]) -> None:
    news = publish_changes(segment.workspace_id, moves)
    if news:
        record_derived_events(
            segment.workspace_id, [derived_event_of(move, segment.name) for move in news], now=news[0].at
        )
