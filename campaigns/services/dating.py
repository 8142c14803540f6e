"""Dates of contacts that start runs: kept on the timetable, decided when they are due."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from campaigns.errors import InvalidDefinition
from campaigns.models import Campaign, CampaignVersion
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.services.enrolling import Candidate, enrol
from campaigns.services.moments import occurrence_after
from campaigns.services.parking import set_campaign_aside
from campaigns.services.people import Person, people_of
from campaigns.services.permission import settings_of
from campaigns.services.plans import DateStart, Plan, date_starts, starter_of
from config import clock
from events.services import DueDecision, EffectBatch, forget_due, schedule

LATE: Final = timedelta(hours=72)
"""A date that is told so long after it was due, after downtime say, starts nothing any more."""
CHUNK: Final = 1_000
_TICK: Final = timedelta(microseconds=1)
CHANGES: Final = frozenset({"contact.created", "contact.updated", "contact.merged", "contact.unmerged"})


def keep_dates(batch: EffectBatch, plan: Plan) -> None:
    """Start what is due, and put on the timetable what comes next of those that were due or have changed."""
    if not plan.dates:
        return
    due = [one for one in batch.due if one.subject in plan.dates]
    changed = {event.contact_id for event in batch.told if event.name in CHANGES}
    if not due and not changed:
        return
    people = people_of(batch.workspace_id, changed | {one.contact_id for one in due})
    zone = _default_zone(batch.workspace_id)
    for start, decisions in _by_start(due, plan):
        _start(batch, start, decisions, people, zone)
    _plan_next(batch.workspace_id, list(plan.dates.values()), people, changed, zone, batch.now)


def schedule_dates(workspace_id: UUID, version_id: UUID) -> int:
    """Put the dates of some contacts on the timetable for a version that begins to serve. Returns how many contacts.

    Those that change meanwhile are put there by the effects.
    """
    with transaction.atomic(durable=True):
        version = (
            CampaignVersion.objects.filter(
                workspace_id=workspace_id, id=version_id, campaign__workspace_id=workspace_id
            )
            .exclude(dates_since=None)
            # The campaign too: whoever takes its dates off has it.
            .select_for_update(skip_locked=True, of=("self", "campaign"))
            .select_related("campaign")
            .first()
        )
        if version is None:
            return 0
        try:
            starts = list(date_starts(starter_of(version.campaign, version)))
        except InvalidDefinition as error:
            set_campaign_aside(workspace_id, version.campaign_id, error, clock.now())
            forget_dates(workspace_id, version.campaign, version)
            return 0
        contact_ids = _contacts_with(workspace_id, starts, version.dates_after)
        people = people_of(workspace_id, contact_ids)
        _plan_next(
            workspace_id,
            starts,
            people,
            contact_ids,
            _default_zone(workspace_id),
            version.dates_since or clock.now(),
        )
        if len(contact_ids) < CHUNK:
            version.dates_since = None
        else:
            version.dates_after = contact_ids[-1]
        version.save(update_fields=["dates_since", "dates_after"])
    return len(contact_ids)


def versions_with_dates() -> list[tuple[UUID, UUID]]:
    """Return the (workspace, version) whose dates are not all on the timetable yet."""
    versions = CampaignVersion.objects.exclude(dates_since=None)
    return list(versions.values_list("workspace_id", "id"))


def begin_dates(campaign: Campaign, version: CampaignVersion, now: datetime) -> None:
    """Have the dates of all contacts put on the timetable for a version that begins to serve, or does so again."""
    if any(True for _ in date_starts(starter_of(campaign, version))):
        version.dates_since, version.dates_after = now, None
        version.save(update_fields=["dates_since", "dates_after"])


def forget_dates(workspace_id: UUID, campaign: Campaign, version: CampaignVersion) -> None:
    """Take a version's dates off the timetable, and put no more of them there."""
    version.dates_since = None
    version.save(update_fields=["dates_since"])
    with suppress(InvalidDefinition):  # of what nobody can read any more none is kept
        if subjects := [start.subject for start in date_starts(starter_of(campaign, version))]:
            forget_due(workspace_id, subjects=subjects)


def _default_zone(workspace_id: UUID) -> str:
    return settings_of(workspace_id, Channel.EMAIL).time_zone


def _by_start(due: Iterable[DueDecision], plan: Plan) -> Iterable[tuple[DateStart, Sequence[DueDecision]]]:
    found: dict[UUID, list[DueDecision]] = defaultdict(list)
    for one in due:
        found[one.subject].append(one)
    return [(plan.dates[subject], decisions) for subject, decisions in found.items()]


def _start(
    batch: EffectBatch,
    start: DateStart,
    decisions: Sequence[DueDecision],
    people: dict[UUID, Person],
    zone: str,
) -> None:
    """Start runs of whom the date is still what it was when it was put on the timetable; then what comes next."""
    right = [
        one
        for one in decisions
        if (person := people.get(one.contact_id)) is not None
        and person.id == one.contact_id
        and _occurrence(start, person, zone, one.due_at - _TICK) == one.due_at
    ]
    candidates = [
        Candidate(
            contact_id=one.contact_id,
            source=f"date:{start.subject}:{one.due_at:%Y-%m-%d}",
            occurred_at=one.due_at,
            refusal=Reason.TOO_LATE if batch.now - one.due_at > LATE else None,
            value=f"date:{start.subject}:{one.due_at:%Y-%m-%d}",
        )
        for one in right
    ]
    enrol(batch.workspace_id, [start.starter], candidates, batch.now, holds_lanes=True)
    latest = {one.contact_id: max(one.due_at, batch.now - LATE) for one in decisions}
    for contact_id, after in latest.items():
        _plan_next(batch.workspace_id, [start], people, [contact_id], zone, after)


def _plan_next(
    workspace_id: UUID,
    starts: Sequence[DateStart],
    people: dict[UUID, Person],
    contact_ids: Collection[UUID],
    zone: str,
    after: datetime,
) -> None:
    schedule(
        workspace_id,
        [
            (start.subject, person.id, moment)
            for contact_id in contact_ids
            if (person := people.get(contact_id)) is not None and person.id == contact_id
            for start in starts
            if (moment := _occurrence(start, person, zone, after)) is not None
        ],
    )


def _occurrence(start: DateStart, person: Person, zone: str, after: datetime) -> datetime | None:
    value = person.state.attributes.get(start.trigger.attribute)
    return occurrence_after(value, start.trigger, person.time_zone(zone), after)


def _contacts_with(workspace_id: UUID, starts: Sequence[DateStart], after: UUID | None) -> list[UUID]:
    """Return some contacts that have one of the attributes, in the order of their ids."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM contacts_contact WHERE workspace_id = %s AND merged_into_id IS NULL AND id > %s"
            " AND attributes ?| %s ORDER BY id LIMIT %s",
            [
                workspace_id,
                after or UUID(int=0),
                [start.trigger.attribute for start in starts],
                CHUNK,
            ],
        )
        return [contact_id for (contact_id,) in cursor.fetchall()]
