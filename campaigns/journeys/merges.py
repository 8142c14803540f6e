"""End enrollments that merges duplicate, or whose contact was deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from campaigns.errors import InvalidDefinition
from campaigns.journeys.goals_and_exits import end_enrollments, ids_by_canonical_contact
from campaigns.journeys.plans import definition_of
from campaigns.models import Enrollment
from campaigns.reasons import Reason
from config.db.lookups import any_of


def end_duplicate_enrollments(workspace_id: UUID, survivors: Collection[UUID], now: datetime) -> int:
    """End the later enrollments of merged contacts in the same campaign. Returns how many."""
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
    """Return open enrollments that duplicate an older one of the same person in the same campaign."""
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
        # The processor ends enrollments of unreadable versions.
        return "every"


def end_enrollments_of_removed_contacts(
    workspace_id: UUID, contact_ids: Sequence[UUID], now: datetime
) -> int:
    """End the open enrollments of deleted contacts. Returns how many."""
    enrollments = (
        Enrollment.objects.in_workspace(workspace_id).open().filter(any_of("contact_id", contact_ids))
    )
    events = dict.fromkeys(enrollments.values_list("id", flat=True))
    return len(
        end_enrollments(workspace_id, events, status=Enrollment.Status.EXITED, reason=Reason.ERASED, now=now)
    )
