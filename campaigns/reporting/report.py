"""Campaign report: decisions by reason, enrollments by status and messages by status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, Q, QuerySet

from campaigns.models import Campaign, CampaignSet, Decision, Enrollment, Message
from config.db.plans import force_custom_plan
from config.ids import first_id_at
from workspaces.tenancy import TenantQuerySet

Counts = dict[str, int]


@dataclass(frozen=True, slots=True)
class StepCount:
    """Number of equal decisions at a step; `handle`: where a branch or a split was left."""

    step: str
    kind: str
    reason: str
    handle: str
    count: int


@dataclass(frozen=True, slots=True)
class MessageCounts:
    """Messages of one channel; `opened` and `clicked` count messages, not opens and clicks."""

    total: int
    by_status: Counts
    opened: int
    clicked: int


@dataclass(frozen=True, slots=True)
class CampaignReport:
    """Counts of a campaign, in total or of a period. Trials are excluded."""

    entered: int
    not_entered: Counts
    enrollments: Counts
    ended: Counts
    messages: dict[str, MessageCounts]
    not_sent: Counts
    deferred: Counts
    steps: list[StepCount]


@force_custom_plan()
def campaign_report(
    campaign: Campaign, *, since: datetime | None = None, until: datetime | None = None
) -> CampaignReport:
    """Count a campaign's decisions, enrollments and messages that were created in the period."""
    steps = _decisions(campaign, since, until)
    return CampaignReport(
        entered=sum(step.count for step in steps if step.kind == Decision.Kind.ENTERED),
        not_entered=_by_reason(steps, Decision.Kind.NOT_ENTERED),
        **_enrollments(campaign, since, until),
        messages=_messages(campaign, since, until),
        not_sent=_by_reason(steps, Decision.Kind.NOT_SENT),
        deferred=_by_reason(steps, Decision.Kind.DEFERRED),
        steps=[step for step in steps if step.step],
    )


def _in_period(
    rows: TenantQuerySet[Any], campaign: Campaign, since: datetime | None, until: datetime | None
) -> QuerySet[Any]:
    """Filter rows by campaign and period."""
    of_campaign = rows.in_workspace(campaign.workspace_id).filter(campaign_id=campaign.id)
    return _between(of_campaign, since, until)


def _between(rows: QuerySet[Any], since: datetime | None, until: datetime | None) -> QuerySet[Any]:
    """Filter rows by period, by the time in their ids."""
    if since is not None:
        rows = rows.filter(id__gte=first_id_at(since))
    return rows if until is None else rows.filter(id__lt=first_id_at(until))


def _decisions(campaign: Campaign, since: datetime | None, until: datetime | None) -> list[StepCount]:
    trials = Enrollment.objects.in_workspace(campaign.workspace_id).filter(
        campaign_id=campaign.id, is_test=True
    )
    rows = _in_period(Decision.objects.exclude(enrollment_id__in=trials.values("id")), campaign, since, until)
    groups = rows.order_by().values_list("step", "kind", "reason", "detail__handle")
    grouped = groups.annotate(count=Count("id"))
    counted = [
        StepCount(step, kind, reason, handle if isinstance(handle, str) else "", count)
        for step, kind, reason, handle, count in grouped
    ]
    counted += _shared_decisions(campaign, since, until)
    return sorted(counted, key=lambda step: (step.step, step.kind, step.reason, step.handle))


def _shared_decisions(campaign: Campaign, since: datetime | None, until: datetime | None) -> list[StepCount]:
    sets = CampaignSet.objects.in_workspace(campaign.workspace_id).containing(campaign.id)
    decisions = Decision.objects.in_workspace(campaign.workspace_id)
    rows = _between(decisions.filter(campaign_set_id__in=sets.ids()), since, until)
    groups = rows.order_by().values_list("kind", "reason").annotate(count=Count("id"))
    return [StepCount("", kind, reason, "", count) for kind, reason, count in groups]


def _by_reason(steps: list[StepCount], kind: str) -> Counts:
    counts: Counts = {}
    for step in steps:
        if step.kind == kind:
            counts[step.reason] = counts.get(step.reason, 0) + step.count
    return counts


def _enrollments(campaign: Campaign, since: datetime | None, until: datetime | None) -> Mapping[str, Any]:
    rows = _in_period(Enrollment.objects.filter(is_test=False), campaign, since, until)
    enrollments: Counts = dict.fromkeys(Enrollment.Status.values, 0)
    ended: Counts = {}
    ends = rows.order_by().values_list("status", "end_reason")
    for status, reason, count in ends.annotate(count=Count("id")):
        enrollments[status] += count
        if reason:
            ended[reason] = ended.get(reason, 0) + count
    return {"enrollments": enrollments, "ended": ended}


def _messages(campaign: Campaign, since: datetime | None, until: datetime | None) -> dict[str, MessageCounts]:
    rows = _in_period(Message.objects.filter(is_test=False), campaign, since, until)
    grouped = (
        rows.order_by()
        .values_list("channel", "status")
        .annotate(
            count=Count("id"),
            opened=Count("id", filter=Q(opened_at__isnull=False)),
            clicked=Count("id", filter=Q(clicked_at__isnull=False)),
        )
    )
    channels: dict[str, list[tuple[str, int, int, int]]] = {}
    for channel, *counted in grouped:
        channels.setdefault(channel, []).append(tuple(counted))
    return {
        channel: MessageCounts(
            total=sum(count for _, count, _, _ in counted),
            by_status={status: count for status, count, _, _ in counted},
            opened=sum(opened for *_, opened, _ in counted),
            clicked=sum(clicked for *_, clicked in counted),
        )
        for channel, counted in sorted(channels.items())
    }
