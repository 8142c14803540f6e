"""Who is in a segment, who was, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import F

from config import clock
from config.db.statements import fetch_all
from config.ids import NO_ID
from contacts.errors import ContactNotFound
from contacts.identity.lookup import find
from contacts.models import Contact
from events.aggregates.registry import built_aggregates
from events.errors import InvalidCondition
from events.id_bounds import known_until
from events.rules import explain_contact, parse_rule
from segments.models import Membership, Segment


@dataclass(frozen=True, slots=True)
class Member:
    """A contact in a segment; `until` is None while it is in."""

    contact_id: UUID
    since: datetime
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a contact is in a segment, and why.

    `is_member` is what stands, `matches` what the rule says now: they differ for moments only, while events wait
    for their effects, or for longer where the segment is parked. `tree` is explain_contact's; None: static,
    never published, or not to be read any more, which `fault` says: then `matches` is not known.
    `changes_at` is when time alone may change the answer.
    """

    contact_id: UUID
    is_member: bool
    since: datetime | None
    matches: bool | None
    changes_at: datetime | None
    tree: dict[str, Any] | None
    at: datetime
    fault: str = ""


def members(
    workspace_id: UUID, segment: Segment, *, after: UUID | None = None, limit: int = 100
) -> list[Member]:
    """Return who is in the segment, by contact id, those after `after` only."""
    if segment.is_static:
        return _page(_STATIC_PAGE, workspace_id, segment, after, limit)
    rows = Membership.objects.in_workspace(workspace_id).filter(version=segment.version)
    page = rows.filter(contact_id__gt=after or NO_ID).with_entry().order_by("contact_id")
    return [Member(*row) for row in page.values_list("contact_id", "entered_at")[:limit]]


def members_at(
    workspace_id: UUID, segment: Segment, at: datetime, *, after: UUID | None = None, limit: int = 100
) -> list[Member]:
    """Return who was in the segment at a moment, by contact id, those after `after` only.

    Of contacts that are one person now, one is returned: the survivor if it was in the segment itself.
    """
    return _page(_PAGE_AT, workspace_id, segment, after, limit, at=at)


def count_members(workspace_id: UUID, segments: Sequence[Segment]) -> dict[UUID, int]:
    """Return the number of members, by the segment's id, in two statements at most."""
    counts = dict.fromkeys([segment.id for segment in segments], 0)
    for is_static, statement in ((False, _COUNT), (True, _STATIC_COUNT)):
        versions = [segment.version for segment in segments if segment.is_static is is_static]
        if versions:
            rows = fetch_all(statement, {"workspace": workspace_id, "versions": versions})
            counts.update(rows)
    return counts


def segments_of(workspace_id: UUID, contact_id: UUID) -> list[tuple[Segment, datetime]]:
    """Return the segments that a contact is in, and since when, by name."""
    rows = (
        Membership.objects.in_workspace(workspace_id)
        .filter(contact_id__in=_ids(workspace_id, contact_id))
        .filter(segment__workspace_id=workspace_id, segment__version=F("version"))
        .select_related("segment")
        .with_entry()
        .order_by("segment__name", "-entered_at")
    )
    # Of a contact and those merged into it, each may have been put into a static segment.
    return list({row.segment_id: (row.segment, row.entered_at) for row in rows}.values())


def explain_membership(workspace_id: UUID, segment: Segment, contact_id: UUID) -> Explanation:
    """Return why a contact is in the segment or not, by what serves. Raises ContactNotFound."""
    survivor = find(workspace_id, [contact_id]).by_id.get(contact_id)
    if survivor is None:
        raise ContactNotFound
    now = clock.now()
    row = (
        Membership.objects.in_workspace(workspace_id)
        .filter(version=segment.version)
        .filter(contact_id__in=_ids(workspace_id, survivor) if segment.is_static else [survivor])
        .with_entry()
        .order_by("entered_at")
        .first()
    )
    tree, fault = None, ""
    try:
        rule = parse_rule(segment.rule) if segment.rule is not None else None
    except InvalidCondition as error:
        rule, fault = None, error.of_stored
    if rule is not None:
        known = built_aggregates(workspace_id)
        tree = explain_contact(workspace_id, rule, segment.rule, survivor, now, known, until=known_until(now))
    return Explanation(
        contact_id=survivor,
        is_member=row is not None,
        since=None if row is None else row.entered_at,
        matches=tree["matches"] if tree is not None else None if fault else row is not None,
        changes_at=None
        if tree is None or not tree["changesAt"]
        else datetime.fromisoformat(tree["changesAt"]),
        tree=tree,
        at=now,
        fault=fault,
    )


def _page(
    statement: str, workspace_id: UUID, segment: Segment, after: UUID | None, limit: int, **more: Any
) -> list[Member]:
    place = {"workspace": workspace_id, "segment": segment.id, "version": segment.version}
    rows = fetch_all(statement, {**place, "after": after or NO_ID, "limit": limit, **more})
    return [Member(*row) for row in rows]


def _ids(workspace_id: UUID, contact_id: UUID) -> list[UUID]:
    merged = Contact.objects.in_workspace(workspace_id).filter(merged_into=contact_id)
    return [contact_id, *merged.values_list("id", flat=True)]


# The rows of a static segment stay with the contact that was put in; who it was merged into is in by them.
_STATIC_PAGE = """
SELECT COALESCE(c.merged_into_id, c.id) AS id, (array_agg(m.since ORDER BY m.since))[1] FROM segments_membership m
JOIN contacts_contact c ON c.workspace_id = %(workspace)s AND c.id = m.contact_id
WHERE m.workspace_id = %(workspace)s AND m.version = %(version)s AND COALESCE(c.merged_into_id, c.id) > %(after)s
GROUP BY 1 ORDER BY 1 LIMIT %(limit)s
"""
_WAS_IN = """{stay}.workspace_id = %(workspace)s AND {stay}.segment_id = %(segment)s
AND {stay}.entered_at <= %(at)s AND ({stay}.left_at IS NULL OR {stay}.left_at > %(at)s)"""
_PAGE_AT = f"""
SELECT s.contact_id, s.entered_at, s.left_at FROM segments_membershipperiod s
LEFT JOIN contacts_contact c ON c.workspace_id = %(workspace)s AND c.id = s.contact_id
WHERE {_WAS_IN.format(stay="s")} AND s.contact_id > %(after)s AND (c.merged_into_id IS NULL OR NOT EXISTS (
    SELECT 1 FROM contacts_contact other JOIN segments_membershipperiod t ON t.contact_id = other.id
    WHERE other.workspace_id = %(workspace)s AND {_WAS_IN.format(stay="t")} AND (
        other.id = c.merged_into_id OR (other.merged_into_id = c.merged_into_id AND other.id < c.id))
))
ORDER BY s.contact_id, s.entered_at LIMIT %(limit)s
"""
_COUNT = """
SELECT segment_id, count(*) FROM segments_membership
WHERE workspace_id = %(workspace)s AND version = ANY(%(versions)s) GROUP BY segment_id
"""
_STATIC_COUNT = """
SELECT m.segment_id, count(DISTINCT COALESCE(c.merged_into_id, c.id)) FROM segments_membership m
JOIN contacts_contact c ON c.workspace_id = %(workspace)s AND c.id = m.contact_id
WHERE m.workspace_id = %(workspace)s AND m.version = ANY(%(versions)s) GROUP BY m.segment_id
"""
