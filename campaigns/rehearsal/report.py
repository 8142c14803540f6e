"""What a rehearsed version would have done: counts as in a campaign's report, and each enrollment with its path."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from campaigns.models import Campaign, Decision, Enrollment, Message, RehearsedEnrollment
from campaigns.reporting.report import campaign_report
from config.db.lookups import any_of
from config.http.rendering import iso_millis
from config.ids import ordered_uuid7

_BATCH: Final = 1_000


def report_of(campaign: Campaign, label: str, events: int) -> dict[str, Any]:
    """Return a version's counts: those of `CampaignReport`, its label, and how many events concerned it."""
    return {"label": label, "events": events, **asdict(campaign_report(campaign))}


def rehearsed_enrollments(campaign: Campaign, version: int) -> Iterator[list[RehearsedEnrollment]]:
    """Yield the enrollments of a version in batches, not yet saved and without a rehearsal.

    By their start; those of a moment by their contact, as a broadcast enrolls.
    """
    enrollments = Enrollment.objects.in_workspace(campaign.workspace_id).filter(campaign_id=campaign.pk)
    in_order = list(enrollments.order_by("started_at", "contact_id", "id"))
    for start in range(0, len(in_order), _BATCH):
        batch = in_order[start : start + _BATCH]
        ids = [enrollment.pk for enrollment in batch]
        paths, messages = _paths(campaign, ids), _messages(campaign, ids)
        yield [
            RehearsedEnrollment(
                id=ordered_uuid7(),
                workspace_id=campaign.workspace_id,
                version=version,
                contact_id=enrollment.contact_id,
                event_id=enrollment.event_id,
                status=enrollment.status,
                end_reason=enrollment.end_reason,
                started_at=enrollment.started_at,
                ended_at=enrollment.ended_at,
                path=paths[enrollment.pk],
                messages=messages[enrollment.pk],
            )
            for enrollment in batch
        ]


def _paths(campaign: Campaign, enrollment_ids: Sequence[UUID]) -> Mapping[UUID | None, list[dict[str, Any]]]:
    decisions = Decision.objects.in_workspace(campaign.workspace_id).filter(
        any_of("enrollment_id", enrollment_ids)
    )
    paths: dict[UUID | None, list[dict[str, Any]]] = defaultdict(list)
    for decision in decisions.order_by("decided_at", "id"):
        path = {
            "at": iso_millis(decision.decided_at),
            "kind": decision.kind.upper(),
            "step": decision.step or None,
            "reason": decision.reason or None,
            "handle": decision.detail.get("handle"),
        }
        paths[decision.enrollment_id].append(path)
    return paths


def _messages(
    campaign: Campaign, enrollment_ids: Sequence[UUID]
) -> Mapping[UUID | None, list[dict[str, Any]]]:
    rows = Message.objects.in_workspace(campaign.workspace_id).filter(any_of("enrollment_id", enrollment_ids))
    messages: dict[UUID | None, list[dict[str, Any]]] = defaultdict(list)
    # Their keys end with how many steps came before.
    for message in sorted(rows, key=lambda message: int(message.key.rpartition(":")[2])):
        messages[message.enrollment_id].append(
            {
                "step": message.step,
                "channel": message.channel.upper(),
                "templateId": str(message.template_id) if message.template_id else None,
                "status": message.status,
                "at": iso_millis(message.sent_at or message.send_at),
                "reason": message.error or None,
            }
        )
    return messages


def differences_of(first: set[UUID], second: set[UUID]) -> dict[str, int]:
    """Return how many contacts would have entered both versions, or one of them only."""
    return {
        "both": len(first & second),
        "onlyFirst": len(first - second),
        "onlySecond": len(second - first),
    }
