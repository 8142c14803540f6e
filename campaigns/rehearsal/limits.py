"""What a rehearsal can't know of the past, in plain words: of all limits those that apply to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from campaigns.journeys.definition.parser import Definition
from campaigns.journeys.definition.steps import SendStep
from campaigns.journeys.definition.triggers import ManualTrigger, ScheduleTrigger
from campaigns.models import Campaign, Template
from campaigns.rehearsal.starts import Starts, scheduled_moment
from contacts.models import Contact, Erasure
from events.names import MESSAGE_BOUNCED, MESSAGE_CLICK, MESSAGE_COMPLAINED, MESSAGE_OPEN
from segments.models import MembershipPeriod, Segment

Limit = dict[str, str]
"""{"code", "text"}."""
_BATCH: Final = 1_000
_READER_EVENTS: Final = (MESSAGE_OPEN, MESSAGE_CLICK, MESSAGE_BOUNCED, MESSAGE_COMPLAINED)


def limits_of(
    campaign: Campaign,
    definition: Definition,
    raw: Any,
    starts: Starts,
    contact_ids: Sequence[UUID],
    period: tuple[datetime, datetime],
    *,
    is_coarse: bool,
) -> list[Limit]:
    """Return the limits that apply to a version's rehearsal. Called before the tables are hidden.

    `raw`: the definition as it is stored.
    """
    since, _ = period
    found = [
        *_always(campaign, definition, raw),
        *_of_people(campaign.workspace_id, contact_ids, since),
        *_of_rules(raw),
        *_of_templates(campaign.workspace_id, definition, since),
        *_of_starts(campaign.workspace_id, definition, starts, period),
    ]
    if is_coarse:
        found.append(("coarse", "It has more than 50,000 events: those of one second share a moment."))
    return [{"code": code, "text": text} for code, text in found]


def _always(campaign: Campaign, definition: Definition, raw: Any) -> Iterator[tuple[str, str]]:
    yield "begins_empty", "Nobody was in the campaign at the beginning: it counts as activated then."
    if campaign.starts_at or campaign.ends_at:
        yield "own_period", "The campaign's own start and end are not asked."
    if any(isinstance(node.step, SendStep) for node in definition.nodes.values()):
        yield (
            "arrives_at_once",
            "Each message arrives at the moment at which it may leave: how long workers and providers take is left"
            " out, and so are failures, bounces, opens and clicks.",
        )
        yield "settings_now", "The channels' settings (caps, quiet hours, opt-in) are those of now."
    if names := sorted({name for name in _READER_EVENTS if name in set(_values(raw, "eventType"))}):
        yield "readers", f"It waits for {', '.join(names)}, which never comes of a rehearsed message."


def _of_people(workspace_id: UUID, contact_ids: Sequence[UUID], since: datetime) -> Iterator[tuple[str, str]]:
    merged = sum(
        Contact.objects.in_workspace(workspace_id)
        .filter(merged_into_id__in=contact_ids[start : start + _BATCH])
        .count()
        for start in range(0, len(contact_ids), _BATCH)
    )
    if merged:
        yield (
            "merges_now",
            f"{merged:,} contacts were merged into others: they count as one person from the beginning, whenever they"
            " were merged.",
        )
    if Erasure.objects.in_workspace(workspace_id).filter(erased_at__gte=since).exists():
        yield "erased", "Contacts were erased since the beginning: they and their events are missing."


def _of_rules(raw: Any) -> Iterator[tuple[str, str]]:
    leaves = list(_leaves(raw))
    if any(leaf.get("type") == "event" and not leaf.get("timeWindow") for leaf in leaves):
        yield (
            "all_time_now",
            "Conditions over all time count all events until now, also those after the moment.",
        )
    if any(leaf.get("type") == "company" for leaf in leaves):
        yield "companies_now", "Companies and who belongs to them are as of now."
    if any(leaf.get("field") == "score" for leaf in leaves) or "contact.score" in str(raw):
        yield "scores_now", "Scores are those of the moment by the scoring rules of now."
    if any(leaf.get("type") == "segment" for leaf in leaves) or list(_values(raw, "segmentId")):
        yield "segments_as_were", "Segments are those of the moment by the rules that they had then."


def _of_templates(workspace_id: UUID, definition: Definition, since: datetime) -> Iterator[tuple[str, str]]:
    sent = {node.step.template_id for node in definition.nodes.values() if isinstance(node.step, SendStep)}
    edited = Template.objects.in_workspace(workspace_id).filter(id__in=sent, updated_at__gte=since)
    if names := sorted(edited.values_list("name", flat=True)):
        yield (
            "templates_now",
            f"Templates are as of now, and were edited since the beginning: {', '.join(names)}.",
        )


def _of_starts(
    workspace_id: UUID, definition: Definition, starts: Starts, period: tuple[datetime, datetime]
) -> Iterator[tuple[str, str]]:
    since, until = period
    for trigger in definition.triggers:
        if isinstance(trigger, ScheduleTrigger) and trigger.at != scheduled_moment(trigger, since, until):
            yield (
                "schedule_moved",
                "Its schedule is not in the period: it was started at the beginning instead.",
            )
    names = dict(Segment.objects.in_workspace(workspace_id).values_list("id", "name"))
    for broadcast in starts.broadcasts:
        if broadcast.segment_id is not None and not _had_members(
            workspace_id, broadcast.segment_id, broadcast.due_at
        ):
            name = names.get(broadcast.segment_id, "that is gone")
            yield "segment_younger", f"Nobody had entered the segment {name} by the moment of its broadcast."
    if starts.manual:
        yield (
            "manual_starts",
            f"{len(starts.manual):,} starts by hand or by the API are repeated as they came to the live campaign.",
        )
    elif any(isinstance(trigger, ManualTrigger) for trigger in definition.triggers):
        yield "manual_starts", "No start by hand or by the API is stored for the period: none is repeated."


def _had_members(workspace_id: UUID, segment_id: UUID, moment: datetime) -> bool:
    periods = MembershipPeriod.objects.in_workspace(workspace_id).filter(
        segment_id=segment_id, entered_at__lte=moment
    )
    return periods.exists()


def imported_limit(imported: int) -> list[Limit]:
    """Return the limit about contacts whose events are older than themselves."""
    if not imported:
        return []
    text = f"{imported:,} contacts were imported after their events: they are as of now."
    return [{"code": "imported_now", "text": text}]


def _leaves(raw: Any) -> Iterator[dict[str, Any]]:
    """Yield the conditions of a definition, wherever they are; triggers and nodes have other types."""
    if isinstance(raw, dict):
        if isinstance(raw.get("type"), str):
            yield raw
        for value in raw.values():
            yield from _leaves(value)
    elif isinstance(raw, list):
        for value in raw:
            yield from _leaves(value)


def _values(raw: Any, key: str) -> Iterator[str]:
    if isinstance(raw, dict):
        if isinstance(raw.get(key), str):
            yield raw[key]
        for value in raw.values():
            yield from _values(value, key)
    elif isinstance(raw, list):
        for value in raw:
            yield from _values(value, key)
