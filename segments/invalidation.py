"""Find the contacts that a batch of events affects, and the rules to evaluate for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from uuid import UUID

from config.ids import parse_uuid
from events.aggregates.registry import match_events_to_aggregates
from events.models import Event
from events.names import (
    CONTACT_PREFIX,
    CONTACT_SUBSCRIBED,
    CONTACT_TAGGED,
    CONTACT_UNSUBSCRIBED,
    CONTACT_UPDATED,
    SEGMENT_EVENTS,
)
from events.processing.bisection import bisect_failures
from events.processing.passes import EffectBatch, EffectEvent
from events.rules import AggregateSpec
from segments.plans import InvalidationKind, Plan, RuleVersionGroup, Trigger
from segments.removal import REMOVED_CONTACT_TIMER_KEY

CHANGES_CONTACT = frozenset({CONTACT_UPDATED, CONTACT_TAGGED, CONTACT_SUBSCRIBED, CONTACT_UNSUBSCRIBED})


@dataclass(frozen=True, slots=True)
class Affected:
    """Contacts of a batch, by what happened to them."""

    # New ones, and those that became or ceased to be more than one: any rule may say otherwise now.
    everywhere: set[UUID]
    by_kind: Mapping[InvalidationKind, set[UUID]]
    by_spec: Mapping[AggregateSpec, set[UUID]]
    by_segment: Mapping[UUID, set[UUID]]

    @property
    def is_nobody(self) -> bool:
        """Whether nothing happened that any rule could read."""
        return not (
            self.everywhere
            or any(self.by_kind.values())
            or any(self.by_spec.values())
            or any(self.by_segment.values())
        )

    def of(self, group: RuleVersionGroup, moved: Mapping[UUID, set[UUID]]) -> Set[UUID]:
        """Return the contacts for which the group's rules may answer otherwise now, those of `everywhere` apart."""
        found = [contact_ids for trigger in group.triggers if (contact_ids := self._by(trigger, moved))]
        if len(found) == 1 and not self.everywhere:
            return found[0]
        return frozenset().union(*found) - self.everywhere

    def _by(self, trigger: Trigger, moved: Mapping[UUID, set[UUID]]) -> Set[UUID]:
        if isinstance(trigger, AggregateSpec):
            return self.by_spec.get(trigger, _NOBODY)
        if isinstance(trigger, InvalidationKind):
            return self.by_kind.get(trigger, _NOBODY)
        return self.by_segment.get(trigger, _NOBODY) | moved.get(trigger, _NOBODY)


_NOBODY: frozenset[UUID] = frozenset()


def may_invalidate(batch: EffectBatch, plan: Plan) -> bool:
    """Return whether a batch may affect any contact. Needs no statement."""
    return (
        bool(plan.unreadable)
        or any(
            timer.timer_key == REMOVED_CONTACT_TIMER_KEY or timer.timer_key in plan.rule_versions
            for timer in batch.due
        )
        or not plan.specs.keys().isdisjoint(batch.names)
        or (bool(batch.scores_changed) and InvalidationKind.SCORE in plan.invalidates)
        or (bool(plan.rule_versions) and any(_may_invalidate(event, plan) for event in batch.system_events))
    )


def _may_invalidate(event: EffectEvent, plan: Plan) -> bool:
    if event.name in CHANGES_CONTACT:
        return InvalidationKind.CONTACT in plan.invalidates
    return event.name.startswith(CONTACT_PREFIX) or (bool(plan.dependents) and event.name in SEGMENT_EVENTS)


def find_affected(
    batch: EffectBatch, plan: Plan, park: Callable[[AggregateSpec, Exception], None]
) -> Affected:
    """Return the contacts that a batch affects. Filters that fail are parked."""
    about = [event for event in batch.system_events if event.name.startswith(CONTACT_PREFIX)]
    changed = {event.contact_id for event in about if event.name in CHANGES_CONTACT}
    return Affected(
        everywhere={event.contact_id for event in about if event.name not in CHANGES_CONTACT},
        by_kind={InvalidationKind.CONTACT: changed, InvalidationKind.SCORE: set(batch.scores_changed)},
        by_spec=_matched(batch, plan, park),
        by_segment=_moved(batch.workspace_id, batch.system_events) if plan.dependents else {},
    )


def _matched(
    batch: EffectBatch, plan: Plan, park: Callable[[AggregateSpec, Exception], None]
) -> dict[AggregateSpec, set[UUID]]:
    matched: dict[AggregateSpec, set[UUID]] = {}
    names = {event.name for event in batch.events}
    specs = [spec for name in names for spec in plan.specs.get(name, ())]
    bisect_failures(
        specs,
        lambda part: matched.update(match_events_to_aggregates(batch.workspace_id, batch.events, part)),
        park,
    )
    return matched


def _moved(workspace_id: UUID, events: Sequence[EffectEvent]) -> dict[UUID, set[UUID]]:
    """Return the contacts that entered or left a segment by a build or by hand."""
    contact_of = {event.id: event.contact_id for event in events if event.name in SEGMENT_EVENTS}
    moves = Event.objects.by_ids(workspace_id, contact_of)
    rows = moves.values_list("id", "properties__segmentId")
    moved: dict[UUID, set[UUID]] = defaultdict(set)
    for event_id, text in rows:
        if (segment_id := parse_uuid(text)) is not None:
            moved[segment_id].add(contact_of[event_id])
    return moved
