"""What the runner must know of a workspace's campaigns: what starts a run, ends one, or lets one go on.

Read once for each version of the rules, and kept.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid5

from django.db import connection

from campaigns.definition import (
    DateTrigger,
    Definition,
    EventMatch,
    EventTrigger,
    WaitForEvent,
    WaitUntilDate,
    read_definition,
)
from campaigns.errors import InvalidDefinition
from campaigns.models import Campaign, CampaignVersion
from campaigns.reasons import Reason
from config.lookups import one_of
from events.rules.matching import EventRule
from events.services.keeping import KeptPlans

_MOST_DEFINITIONS = 1_000


@dataclass(frozen=True, slots=True)
class Starter:
    """A campaign as what may start a run of its serving version."""

    campaign_id: UUID
    version_id: UUID
    definition: Definition
    status: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    is_parked: bool = False
    # What was received before it has never been the campaign's.
    activated_at: datetime | None = None

    def refusal(self, now: datetime) -> Reason | None:
        """Return why nothing starts now, whatever happens; None: something may."""
        if self.status == Campaign.Status.PAUSED:
            return Reason.PAUSED
        if self.is_parked:
            return Reason.PARKED
        too_early = self.starts_at is not None and now < self.starts_at
        too_late = self.ends_at is not None and now >= self.ends_at
        return Reason.OUTSIDE_PERIOD if too_early or too_late else None


class Meaning(Enum):
    """What an event may mean to a run that is under way, in the order in which it is asked."""

    GOAL = "goal"
    EXIT = "exit"
    AWAITED = "awaited"


@dataclass(frozen=True, slots=True)
class Notice:
    """An event that runs of a version take note of; `node_id` of one that is waited for."""

    campaign_id: UUID
    version_id: UUID
    definition: Definition
    meaning: Meaning
    match: EventMatch
    node_id: str = ""

    @property
    def wait(self) -> WaitForEvent | None:
        """The step that waits for it."""
        step = self.definition.nodes[self.node_id].step if self.node_id else None
        return step if isinstance(step, WaitForEvent) else None

    @property
    def needs_contact(self) -> bool:
        """Whether more than the event itself decides."""
        return EventRule(self.match.rule).needs_contact


@dataclass(frozen=True, slots=True)
class DateStart:
    """A date of the contact that starts a run; the timetable knows it by `subject`."""

    subject: UUID
    starter: Starter
    trigger: DateTrigger


@dataclass(slots=True)
class Plan:
    """The campaigns of a workspace, by what they listen to."""

    starters: dict[UUID, Starter] = field(default_factory=dict)
    triggers: dict[str, list[tuple[Starter, EventTrigger]]] = field(default_factory=lambda: defaultdict(list))
    notices: dict[str, list[Notice]] = field(default_factory=lambda: defaultdict(list))
    dates: dict[UUID, DateStart] = field(default_factory=dict)
    # By version, the steps that wait until a date of the contact.
    date_waits: dict[UUID, list[str]] = field(default_factory=dict)
    # Campaigns whose definition cannot be read any more, and why.
    unreadable: list[tuple[UUID, Exception]] = field(default_factory=list)

    @property
    def is_idle(self) -> bool:
        """Whether nothing that happens could mean anything."""
        return not (self.triggers or self.notices or self.dates or self.date_waits or self.unreadable)


def plan_of(workspace_id: UUID) -> Plan:
    """Return the plan for the campaigns as they are; the caller holds the rules."""
    return _plans.get(workspace_id, _fingerprint(workspace_id), lambda: _make_plan(workspace_id))


def kept_plan(workspace_id: UUID, rules_version: int | None) -> Plan | None:
    """Return the plan that is kept for this version of the rules, if any; a campaign may have been parked since."""
    return _plans.peek(workspace_id, rules_version)


_plans: KeptPlans[Plan] = KeptPlans()


def starter_of(campaign: Campaign, version: CampaignVersion) -> Starter:
    """Return a campaign as what may start runs of its version. Raises InvalidDefinition."""
    return Starter(
        campaign.id,
        version.id,
        definition_of(version),
        campaign.status,
        campaign.starts_at,
        campaign.ends_at,
        campaign.parked_at is not None,
        campaign.activated_at,
    )


def definition_of(version: CampaignVersion) -> Definition:
    """Return what a version does: it never changes, so it is read once. Raises InvalidDefinition."""
    return _read(_Kept(version.id, version.definition))


def date_subject(campaign_id: UUID, place: int) -> UUID:
    """Return what the timetable calls a campaign's trigger by a date."""
    return uuid5(campaign_id, f"date:{place}")


def date_starts(starter: Starter) -> Iterator[DateStart]:
    """Yield a campaign's triggers by a date."""
    for place, trigger in enumerate(starter.definition.triggers):
        if isinstance(trigger, DateTrigger):
            yield DateStart(date_subject(starter.campaign_id, place), starter, trigger)


def definitions_of(
    workspace_id: UUID, version_ids: Collection[UUID]
) -> tuple[dict[UUID, Definition], dict[UUID, InvalidDefinition]]:
    """Return what versions do, and why some cannot be read any more; each that can is loaded once."""
    known = {one: found for one in version_ids if (found := _known.get(one)) is not None}
    unreadable: dict[UUID, InvalidDefinition] = {}
    if unknown := set(version_ids) - known.keys():
        for version in CampaignVersion.objects.filter(one_of("id", unknown), workspace_id=workspace_id):
            try:
                known[version.id] = definition_of(version)
            except InvalidDefinition as error:
                unreadable[version.id] = error
        if len(_known) > _MOST_DEFINITIONS:
            _known.clear()
        _known.update(known)
    return known, unreadable


_known: dict[UUID, Definition] = {}


@dataclass(frozen=True, slots=True)
class _Kept:
    version_id: UUID
    raw: Any = field(compare=False)


@lru_cache(maxsize=_MOST_DEFINITIONS)
def _read(kept: _Kept) -> Definition:
    return read_definition(kept.raw)


def _fingerprint(workspace_id: UUID) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT version FROM events_rulesversion WHERE workspace_id = %s),"
            " ARRAY(SELECT id FROM campaigns_campaign WHERE workspace_id = %s AND parked_at IS NOT NULL"
            "  ORDER BY id)::text",
            [workspace_id, workspace_id],
        )
        row: tuple[Any, ...] = cursor.fetchone()
    return row


def _make_plan(workspace_id: UUID) -> Plan:
    plan = Plan()
    versions = CampaignVersion.objects.filter(
        workspace_id=workspace_id, retired_at=None, campaign__status__in=_LISTENING
    )
    for version in versions.select_related("campaign").order_by("id"):
        campaign = version.campaign
        try:
            definition = definition_of(version)
        except InvalidDefinition as error:
            if campaign.parked_at is None:
                plan.unreadable.append((campaign.id, error))
            continue
        if version.id == campaign.version_id and campaign.status != Campaign.Status.COMPLETED:
            _add_starter(plan, starter_of(campaign, version))
        for notice in notices_of(campaign.id, version.id, definition):
            plan.notices[notice.match.event_name].append(notice)
        if waits := [one.id for one in definition.nodes.values() if isinstance(one.step, WaitUntilDate)]:
            plan.date_waits[version.id] = waits
    return plan


# A draft starts nothing: what is tried out of it listens.
_LISTENING: Sequence[str] = (
    Campaign.Status.DRAFT,
    Campaign.Status.ACTIVE,
    Campaign.Status.PAUSED,
    Campaign.Status.COMPLETED,
)


def _add_starter(plan: Plan, starter: Starter) -> None:
    plan.starters[starter.campaign_id] = starter
    for trigger in starter.definition.triggers:
        if isinstance(trigger, EventTrigger):
            plan.triggers[trigger.event_name].append((starter, trigger))
    plan.dates.update({start.subject: start for start in date_starts(starter)})


def notices_of(campaign_id: UUID, version_id: UUID, definition: Definition) -> Iterator[Notice]:
    """Yield what the runs of a version take note of."""
    ids = campaign_id, version_id
    if definition.goal is not None:
        yield Notice(*ids, definition, Meaning.GOAL, definition.goal.match)
    for match in definition.event_exits:
        yield Notice(*ids, definition, Meaning.EXIT, match)
    for node in definition.nodes.values():
        if isinstance(node.step, WaitForEvent):
            yield Notice(*ids, definition, Meaning.AWAITED, node.step.match, node.id)
