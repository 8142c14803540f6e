"""Enrollments of contacts that were merged, parted or deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from campaigns.errors import InvalidDefinition
from campaigns.journeys.listeners import end_enrollments, ids_by_canonical_contact
from campaigns.journeys.plans import definition_of
from campaigns.models import Enrollment
from campaigns.reasons import Reason
from config.db.lookups import any_of


def end_duplicate_enrollments(workspace_id: UUID, survivors: Collection[UUID], now: datetime) -> int:
    """End the younger of two enrollments by which one person is in one campaign. Returns how many ended."""
    ended = 0
    for ids in ids_by_canonical_contact(workspace_id, survivors).values():
        if len(ids) > 1:
            enrollments = (
                Enrollment.objects.in_workspace(workspace_id)
                .open()
                .filter(any_of("contact_id", ids), is_test=False)
            )
            duplicates = {
                enrollment.id: None for enrollment in find_duplicates(enrollments.select_related("version"))
            }
            ended += len(
                end_enrollments(
                    workspace_id, duplicates, status=Enrollment.Status.EXITED, reason=Reason.MERGED, now=now
                )
            )
    return ended


def find_duplicates(enrollments: Iterable[Enrollment]) -> list[Enrollment]:
    """Return those of one person's open enrollments beside which an older one is in the same campaign, as it may not be."""
    by_reentry: dict[tuple[UUID, str], list[Enrollment]] = defaultdict(list)
    for enrollment in sorted(enrollments, key=lambda enrollment: (enrollment.started_at, enrollment.id)):
        mode = _mode_of(enrollment)
        key = enrollment.key if mode in ("every", "key") else mode
        by_reentry[enrollment.campaign_id, key].append(enrollment)
    return [
        enrollment
        for duplicates_by_reentry in by_reentry.values()
        for enrollment in duplicates_by_reentry[1:]
    ]


def _mode_of(enrollment: Enrollment) -> str:
    try:
        return definition_of(enrollment.version).reentry.mode
    except InvalidDefinition:
        # It goes nowhere any more: whoever takes it on ends it.
        return "every"


def end_enrollments_of_removed_contacts(
    workspace_id: UUID, contact_ids: Sequence[UUID], now: datetime
) -> int:
    """End the enrollments of contacts that are deleted. Returns how many."""
    enrollments = (
        Enrollment.objects.in_workspace(workspace_id).open().filter(any_of("contact_id", contact_ids))
    )
    events = dict.fromkeys(enrollments.values_list("id", flat=True))
    return len(
        end_enrollments(workspace_id, events, status=Enrollment.Status.EXITED, reason=Reason.ERASED, now=now)
    )
