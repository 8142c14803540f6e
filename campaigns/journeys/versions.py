"""Versions of campaigns: count open enrollments, and retire versions that no event can concern any more."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef

from campaigns.errors import InvalidDefinition
from campaigns.journeys.plans import definition_of
from campaigns.models import CampaignVersion, Enrollment
from config import clock
from events.processing.passes import bump_rules_version


def open_enrollment_counts(workspace_id: UUID, version_ids: Collection[UUID]) -> dict[UUID, int]:
    """Count open enrollments by version, trials included; versions without any are left out."""
    enrollments = Enrollment.objects.in_workspace(workspace_id).open().filter(version__in=version_ids)
    return dict(enrollments.order_by().values_list("version_id").annotate(count=Count("id")))


def retire_versions(workspace_id: UUID) -> int:
    """Stop matching events against replaced versions without open enrollments. Returns how many."""
    if not _idle_versions(workspace_id):
        return 0
    with transaction.atomic():
        # Enrolling holds the rules: none can start between this check and the update.
        bump_rules_version(workspace_id)
        done = CampaignVersion.objects.in_workspace(workspace_id).filter(id__in=_idle_versions(workspace_id))
        return done.update(retired_at=clock.now())


def _idle_versions(workspace_id: UUID) -> list[UUID]:
    now = clock.now()
    enrollments = Enrollment.objects.in_workspace(workspace_id).filter(version=OuterRef("id"))
    versions = (
        CampaignVersion.objects.in_workspace(workspace_id)
        .filter(retired_at=None)
        .exclude(campaign__active_version=F("id"))
    )
    idle = versions.filter(~Exists(enrollments.open()))
    return [version.id for version in idle if not _may_convert(version, now)]


def workspaces_with_old_versions() -> list[UUID]:
    """Return the workspaces with replaced versions that events are still matched against."""
    versions = CampaignVersion.objects.filter(retired_at=None).exclude(campaign__active_version=F("id"))
    return list(versions.order_by().values_list("workspace_id", flat=True).distinct())


def _may_convert(version: CampaignVersion, now: datetime) -> bool:
    """Return whether a completed enrollment of a version could still reach its goal."""
    try:
        goal = definition_of(version).goal
    except InvalidDefinition:
        return False
    within = goal.within if goal is not None else timedelta()
    return (
        goal is not None
        and Enrollment.objects.in_workspace(version.workspace_id)
        .filter(
            campaign_id=version.campaign_id,
            version=version,
            status=Enrollment.Status.COMPLETED,
            started_at__gte=now - within,
        )
        .exists()
    )
