"""A workspace's campaigns compiled for the effect: triggers, listeners and dates by event name, cached.

Rebuilt when the version of the workspace's rules changes.
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

from campaigns.errors import InvalidDefinition
from campaigns.journeys.definition.parser import Definition, parse_definition
from campaigns.journeys.definition.steps import WaitForEventStep, WaitUntilDateStep
from campaigns.journeys.definition.triggers import DateTrigger, EventTrigger
from campaigns.journeys.definition.values import EventMatch
from campaigns.models import Campaign, CampaignVersion
from campaigns.reasons import Reason
from config.db.lookups import any_of
from config.db.statements import fetch_one
from events.rules.event_matching import EventRule
from events.versioned_cache import VersionedCache

_MAX_CACHED_DEFINITIONS = 1_000


@dataclass(frozen=True, slots=True)
class ActiveCampaign:
    """A campaign and the version that new enrollments start on."""

    campaign_id: UUID
    version_id: UUID
    definition: Definition
    status: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    is_parked: bool = False
    # Events received before it never trigger the campaign.
    activated_at: datetime | None = None

    def refusal(self, now: datetime) -> Reason | None:
        """Return why the campaign accepts no enrollment now; None: it does."""
        if self.status == Campaign.Status.PAUSED:
            return Reason.PAUSED
        if self.is_parked:
            return Reason.PARKED
        too_early = self.starts_at is not None and now < self.starts_at
        too_late = self.ends_at is not None and now >= self.ends_at
        return Reason.OUTSIDE_PERIOD if too_early or too_late else None


class ListenerKind(Enum):
    """What an event does to an open enrollment, in order of precedence."""

    GOAL = "goal"
    EXIT = "exit"
    AWAITED = "awaited"


@dataclass(frozen=True, slots=True)
class Listener:
    """An event that open enrollments of a version react to; `node_id`: the step that waits for it."""

    campaign_id: UUID
    version_id: UUID
    definition: Definition
    kind: ListenerKind
    match: EventMatch
    node_id: str = ""

    @property
    def wait(self) -> WaitForEventStep | None:
        """Return the step that waits for the event, if it is an awaited one."""
        step = self.definition.nodes[self.node_id].step if self.node_id else None
        return step if isinstance(step, WaitForEventStep) else None

    @property
    def needs_contact(self) -> bool:
        """Return whether the rule reads more than the event."""
        return EventRule(self.match.rule).needs_contact


@dataclass(frozen=True, slots=True)
class ActiveDateTrigger:
    """A date trigger of an active campaign; `timer_key` identifies its timers."""

    timer_key: UUID
    active_campaign: ActiveCampaign
    trigger: DateTrigger


@dataclass(slots=True)
class CampaignPlan:
    """A workspace's triggers, listeners and dates."""

    active_campaigns: dict[UUID, ActiveCampaign] = field(default_factory=dict)
    triggers: dict[str, list[tuple[ActiveCampaign, EventTrigger]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    listeners: dict[str, list[Listener]] = field(default_factory=lambda: defaultdict(list))
    dates: dict[UUID, ActiveDateTrigger] = field(default_factory=dict)
    # Ids of the steps that wait until a date of the contact, by version.
    date_waits: dict[UUID, list[str]] = field(default_factory=dict)
    # Campaigns whose definition does not parse any more, with the error.
    unreadable: list[tuple[UUID, Exception]] = field(default_factory=list)

    @property
    def is_idle(self) -> bool:
        """Return whether no event or timer can concern any campaign."""
        return not (self.triggers or self.listeners or self.dates or self.date_waits or self.unreadable)


def load_plan(workspace_id: UUID) -> CampaignPlan:
    """Return the current plan; the caller holds the rules' lock."""
    return _plans.get(workspace_id, _fingerprint(workspace_id), lambda: build_plan(workspace_id))


def cached_plan(workspace_id: UUID, rules_version: int | None) -> CampaignPlan | None:
    """Return the cached plan for a version of the rules, if any; a campaign may have been parked since."""
    return _plans.peek(workspace_id, rules_version)


_plans: VersionedCache[CampaignPlan] = VersionedCache()


def to_active_campaign(campaign: Campaign, version: CampaignVersion) -> ActiveCampaign:
    """Build an ActiveCampaign from its rows. Raises InvalidDefinition."""
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
    """Return a version's parsed definition, cached: it never changes. Raises InvalidDefinition."""
    return _parse_version(_VersionKey(version.id, version.definition))


def date_timer_key(campaign_id: UUID, place: int) -> UUID:
    """Return the timer key of a campaign's date trigger; `place`: its index among the triggers."""
    return uuid5(campaign_id, f"date:{place}")


def active_date_triggers(active_campaign: ActiveCampaign) -> Iterator[ActiveDateTrigger]:
    """Yield a campaign's date triggers."""
    for place, trigger in enumerate(active_campaign.definition.triggers):
        if isinstance(trigger, DateTrigger):
            yield ActiveDateTrigger(
                date_timer_key(active_campaign.campaign_id, place), active_campaign, trigger
            )


def definitions_of(
    workspace_id: UUID, version_ids: Collection[UUID]
) -> tuple[dict[UUID, Definition], dict[UUID, InvalidDefinition]]:
    """Return the parsed definitions of versions, cached, and the errors of those that do not parse."""
    known = {item: found for item in version_ids if (found := _definitions.get(item)) is not None}
    unreadable: dict[UUID, InvalidDefinition] = {}
    if unknown := set(version_ids) - known.keys():
        for version in CampaignVersion.objects.in_workspace(workspace_id).filter(any_of("id", unknown)):
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
    row: tuple[Any, ...] = fetch_one(
        "SELECT (SELECT version FROM events_rulesversion WHERE workspace_id = %s),"
        " ARRAY(SELECT id FROM campaigns_campaign WHERE workspace_id = %s AND parked_at IS NOT NULL"
        "  ORDER BY id)::text",
        [workspace_id, workspace_id],
    )
    return row


def build_plan(workspace_id: UUID) -> CampaignPlan:
    """Build the plan of the campaigns as they are now; `load_plan` keeps it."""
    plan = CampaignPlan()
    versions = CampaignVersion.objects.in_workspace(workspace_id).filter(
        retired_at=None, campaign__status__in=_LISTENING
    )
    for version in versions.select_related("campaign").order_by("id"):
        campaign = version.campaign
        try:
            definition = definition_of(version)
        except InvalidDefinition as error:
            if campaign.parked_at is None:
                plan.unreadable.append((campaign.id, error))
            continue
        if version.id == campaign.active_version_id and campaign.status != Campaign.Status.COMPLETED:
            _add_active_campaign(plan, to_active_campaign(campaign, version))
        for listener in listeners_of(campaign.id, version.id, definition):
            plan.listeners[listener.match.event_name].append(listener)
        if waits := [
            item.id for item in definition.nodes.values() if isinstance(item.step, WaitUntilDateStep)
        ]:
            plan.date_waits[version.id] = waits
    return plan


# A draft has no active version, but its trials listen.
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
    """Yield the goal, exits and awaited events of a version."""
    ids = campaign_id, version_id
    if definition.goal is not None:
        yield Listener(*ids, definition, ListenerKind.GOAL, definition.goal.match)
    for match in definition.event_exits:
        yield Listener(*ids, definition, ListenerKind.EXIT, match)
    for node in definition.nodes.values():
        if isinstance(node.step, WaitForEventStep):
            yield Listener(*ids, definition, ListenerKind.AWAITED, node.step.match, node.id)
