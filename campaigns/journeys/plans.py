"""What the runner must know of a workspace's campaigns: what starts an enrollment, ends one, or lets one go on.

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

from campaigns.errors import InvalidDefinition
from campaigns.journeys.definition import (
    DateTrigger,
    Definition,
    EventMatch,
    EventTrigger,
    WaitForEventStep,
    WaitUntilDateStep,
    parse_definition,
)
from campaigns.models import Campaign, CampaignVersion
from campaigns.reasons import Reason
from config.db.lookups import any_of
from events.rules.event_matching import EventRule
from events.versioned_cache import VersionedCache

_MAX_CACHED_DEFINITIONS = 1_000


@dataclass(frozen=True, slots=True)
class ActiveCampaign:
    """A campaign as what may start an enrollment of its serving version."""

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


class ListenerKind(Enum):
    """What an event may mean to an enrollment that is under way, in the order in which it is asked."""

    GOAL = "goal"
    EXIT = "exit"
    AWAITED = "awaited"


@dataclass(frozen=True, slots=True)
class Listener:
    """An event that enrollments of a version take note of; `node_id` of one that is waited for."""

    campaign_id: UUID
    version_id: UUID
    definition: Definition
    kind: ListenerKind
    match: EventMatch
    node_id: str = ""

    @property
    def wait(self) -> WaitForEventStep | None:
        """The step that waits for it."""
        step = self.definition.nodes[self.node_id].step if self.node_id else None
        return step if isinstance(step, WaitForEventStep) else None

    @property
    def needs_contact(self) -> bool:
        """Whether more than the event itself decides."""
        return EventRule(self.match.rule).needs_contact


@dataclass(frozen=True, slots=True)
class ActiveDateTrigger:
    """A date of the contact that starts an enrollment; the timetable knows it by `timer_key`."""

    timer_key: UUID
    active_campaign: ActiveCampaign
    trigger: DateTrigger


@dataclass(slots=True)
class CampaignPlan:
    """The campaigns of a workspace, by what they listen to."""

    active_campaigns: dict[UUID, ActiveCampaign] = field(default_factory=dict)
    triggers: dict[str, list[tuple[ActiveCampaign, EventTrigger]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    listeners: dict[str, list[Listener]] = field(default_factory=lambda: defaultdict(list))
    dates: dict[UUID, ActiveDateTrigger] = field(default_factory=dict)
    # By version, the steps that wait until a date of the contact.
    date_waits: dict[UUID, list[str]] = field(default_factory=dict)
    # Campaigns whose definition cannot be read any more, and why.
    unreadable: list[tuple[UUID, Exception]] = field(default_factory=list)

    @property
    def is_idle(self) -> bool:
        """Whether nothing that happens could mean anything."""
        return not (self.triggers or self.listeners or self.dates or self.date_waits or self.unreadable)


def load_plan(workspace_id: UUID) -> CampaignPlan:
    """Return the plan for the campaigns as they are; the caller holds the rules."""
    return _plans.get(workspace_id, _fingerprint(workspace_id), lambda: _build_plan(workspace_id))


def cached_plan(workspace_id: UUID, rules_version: int | None) -> CampaignPlan | None:
    """Return the plan that is kept for this version of the rules, if any; a campaign may have been parked since."""
    return _plans.peek(workspace_id, rules_version)


_plans: VersionedCache[CampaignPlan] = VersionedCache()


def to_active_campaign(campaign: Campaign, version: CampaignVersion) -> ActiveCampaign:
    """Return a campaign as what may start enrollments of its version. Raises InvalidDefinition."""
    return ActiveCampaign(
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
    return _parse_version(_VersionKey(version.id, version.definition))


def date_timer_key(campaign_id: UUID, place: int) -> UUID:
    """Return what the timetable calls a campaign's trigger by a date."""
    return uuid5(campaign_id, f"date:{place}")


def active_date_triggers(active_campaign: ActiveCampaign) -> Iterator[ActiveDateTrigger]:
    """Yield a campaign's triggers by a date."""
    for place, trigger in enumerate(active_campaign.definition.triggers):
        if isinstance(trigger, DateTrigger):
            yield ActiveDateTrigger(
                date_timer_key(active_campaign.campaign_id, place), active_campaign, trigger
            )


def definitions_of(
    workspace_id: UUID, version_ids: Collection[UUID]
) -> tuple[dict[UUID, Definition], dict[UUID, InvalidDefinition]]:
    """Return what versions do, and why some cannot be read any more; each that can is loaded once."""
    known = {item: found for item in version_ids if (found := _definitions.get(item)) is not None}
    unreadable: dict[UUID, InvalidDefinition] = {}
    if unknown := set(version_ids) - known.keys():
        for version in CampaignVersion.objects.filter(any_of("id", unknown), workspace_id=workspace_id):
            try:
                known[version.id] = definition_of(version)
            except InvalidDefinition as error:
                unreadable[version.id] = error
        if len(_definitions) > _MAX_CACHED_DEFINITIONS:
            _definitions.clear()
        _definitions.update(known)
    return known, unreadable


_definitions: dict[UUID, Definition] = {}


@dataclass(frozen=True, slots=True)
class _VersionKey:
    version_id: UUID
    raw: Any = field(compare=False)


@lru_cache(maxsize=_MAX_CACHED_DEFINITIONS)
def _parse_version(version_key: _VersionKey) -> Definition:
    return parse_definition(version_key.raw)


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


def _build_plan(workspace_id: UUID) -> CampaignPlan:
    plan = CampaignPlan()
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
            _add_active_campaign(plan, to_active_campaign(campaign, version))
        for listener in listeners_of(campaign.id, version.id, definition):
            plan.listeners[listener.match.event_name].append(listener)
        if waits := [
            item.id for item in definition.nodes.values() if isinstance(item.step, WaitUntilDateStep)
        ]:
            plan.date_waits[version.id] = waits
    return plan


# A draft starts nothing: what is tried out of it listens.
_LISTENING: Sequence[str] = (
    Campaign.Status.DRAFT,
    Campaign.Status.ACTIVE,
    Campaign.Status.PAUSED,
    Campaign.Status.COMPLETED,
)


def _add_active_campaign(plan: CampaignPlan, active_campaign: ActiveCampaign) -> None:
    plan.active_campaigns[active_campaign.campaign_id] = active_campaign
    for trigger in active_campaign.definition.triggers:
        if isinstance(trigger, EventTrigger):
            plan.triggers[trigger.event_name].append((active_campaign, trigger))
    plan.dates.update({start.timer_key: start for start in active_date_triggers(active_campaign)})


def listeners_of(campaign_id: UUID, version_id: UUID, definition: Definition) -> Iterator[Listener]:
    """Yield what the enrollments of a version take note of."""
    ids = campaign_id, version_id
    if definition.goal is not None:
        yield Listener(*ids, definition, ListenerKind.GOAL, definition.goal.match)
    for match in definition.event_exits:
        yield Listener(*ids, definition, ListenerKind.EXIT, match)
    for node in definition.nodes.values():
        if isinstance(node.step, WaitForEventStep):
            yield Listener(*ids, definition, ListenerKind.AWAITED, node.step.match, node.id)
