"""How segments look in the native format, from a fixed number of statements for any number of them."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from config.http.rendering import iso_millis
from contacts.api.presentation import Row, briefs
from contacts.models import Contact
from segments.build import progress_of
from segments.definitions import warnings
from segments.memberships import Explanation, Member, count_members, segments_of
from segments.models import Segment
from segments.preview import Impact, ImpactSample, Preview
from workspaces.models import Workspace


def rows(workspace_id: UUID, segments: Sequence[Segment]) -> list[Row]:
    """Return segments as the list shows them; one statement for the members of all."""
    counts = count_members(workspace_id, list(segments))
    return [_row(segment, counts.get(segment.id, 0)) for segment in segments]


def written(segment: Segment) -> Row:
    """Return a segment as a write answers with it."""
    (row,) = rows(segment.workspace_id, [segment])
    return {**row, "warnings": warnings_of_segment(segment)}


def warnings_of_segment(segment: Segment) -> list[str]:
    """Return what is odd about the rule that is to serve."""
    rule = segment.draft_rule or segment.rule
    return warnings(segment.workspace_id, rule) if rule else []


def build(segment: Segment) -> Row:
    """Return how far a segment's build is."""
    progress = progress_of(segment)
    return {
        "state": progress.state.upper(),
        "judged": progress.judged,
        "total": progress.total,
        "fraction": progress.fraction,
        "startedAt": progress.started_at and iso_millis(progress.started_at),
        "isAnnouncing": progress.is_publishing,
        "publishes": progress.publishes,
    }


def samples(workspace_id: UUID, contact_ids: Sequence[UUID]) -> list[Row]:
    """Return some contacts in their order; one that was deleted meanwhile is left out."""
    contacts = briefs(workspace_id, contact_ids)
    return [contacts[contact_id] for contact_id in contact_ids if contact_id in contacts]


def preview(workspace_id: UUID, found: Preview) -> Row:
    """Return what a rule would hold for."""
    return {
        "count": found.count,
        "total": found.total,
        "judged": found.judged,
        "isEstimate": found.is_estimate,
        "margin": found.margin,
        "sampleContacts": samples(workspace_id, found.samples),
        "warnings": found.warnings,
    }


def impact(workspace_id: UUID, found: Impact) -> Row:
    """Return what a rule would change."""
    groups = {"entering": found.entering, "leaving": found.leaving, "staying": found.staying}
    contacts = briefs(workspace_id, {one.contact_id for group in groups.values() for one in group})
    return {
        "enter": found.enter,
        "leave": found.leave,
        "stay": found.stay,
        "total": found.total,
        "judged": found.judged,
        "isEstimate": found.is_estimate,
        "margin": found.margin,
        **{name: _with_reasons(group, contacts) for name, group in groups.items()},
        "warnings": found.warnings,
    }


def member_rows(workspace_id: UUID, members: Sequence[Member]) -> list[Row]:
    """Return members as a page shows them; one statement. Of a deleted contact the id is what is left."""
    contacts = briefs(workspace_id, {member.contact_id for member in members})
    return [
        {
            "contact": contacts.get(member.contact_id) or _nobody(member.contact_id),
            "since": iso_millis(member.since),
            "until": member.until and iso_millis(member.until),
        }
        for member in members
    ]


def explanation(workspace_id: UUID, found: Explanation) -> Row:
    """Return whether a contact is in a segment, and why."""
    contacts = briefs(workspace_id, [found.contact_id])
    return {
        "contact": contacts.get(found.contact_id) or _nobody(found.contact_id),
        "isMember": found.is_member,
        "since": found.since and iso_millis(found.since),
        "matches": found.matches,
        "changesAt": found.changes_at and iso_millis(found.changes_at),
        "at": iso_millis(found.at),
        "reasons": found.tree,
    }


def active_segments(workspace: Workspace, contact: Contact) -> list[Row]:
    """Return what a contact's answer shows of its segments."""
    return [
        {"id": str(segment.id), "name": segment.name, "since": iso_millis(since)}
        for segment, since in segments_of(workspace.id, contact.id)
    ]


def _row(segment: Segment, members: int) -> Row:
    return {
        "id": str(segment.id),
        "name": segment.name,
        "description": segment.description,
        "rules": segment.rule or segment.draft_rule,
        "draftRules": segment.draft_rule,
        "evaluation": segment.evaluation,
        "startsCampaigns": segment.starts_campaigns,
        "build": build(segment),
        "error": segment.error or None,
        "publishedAt": segment.published_at and iso_millis(segment.published_at),
        "createdAt": iso_millis(segment.created_at),
        "updatedAt": iso_millis(segment.updated_at),
        "_count": {"memberships": members},
    }


def _with_reasons(group: Iterable[ImpactSample], contacts: dict[UUID, Row]) -> list[Any]:
    return [
        {"contact": contacts[one.contact_id], "reasons": one.tree}
        for one in group
        if one.contact_id in contacts
    ]


def _nobody(contact_id: UUID) -> Row:
    return {"id": str(contact_id), "email": None, "firstName": None, "lastName": None}
