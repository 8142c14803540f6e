"""Which contacts a batch touches, and for which rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from uuid import UUID

from config.ids import parse_uuid
from events.models import Event
from events.rules import MeasureSpec
from events.services import EffectBatch, EffectEvent, isolate, match_events
from segments.services.leaving import GONE_SUBJECT
from segments.services.plans import Plan, RulingGroup, Touch, Trigger
from segments.services.telling import ENTERED, EXITED

CHANGES_CONTACT = frozenset(
    {"contact.updated", "contact.tagged", "contact.subscribed", "contact.unsubscribed"}
)


@dataclass(frozen=True, slots=True)
class Touched:
    """The contacts of a batch by what happened to them."""

    # New ones, and those that became or ceased to be more than one: any rule may say otherwise now.
    everywhere: set[UUID]
    by_touch: Mapping[Touch, set[UUID]]
    by_spec: Mapping[MeasureSpec, set[UUID]]
    by_segment: Mapping[UUID, set[UUID]]

    @property
    def is_nobody(self) -> bool:
        """Whether nothing that any rule could speak of happened to anybody."""
        return not (
            self.everywhere
            or any(self.by_touch.values())
            or any(self.by_spec.values())
            or any(self.by_segment.values())
        )

    def of(self, group: RulingGroup, moved: Mapping[UUID, set[UUID]]) -> Set[UUID]:
        """Return the contacts for which the group's rules may say otherwise now, those of `everywhere` apart."""
        found = [contact_ids for trigger in group.triggers if (contact_ids := self._by(trigger, moved))]
        if len(found) == 1 and not self.everywhere:
            return found[0]
        return frozenset().union(*found) - self.everywhere

    def _by(self, trigger: Trigger, moved: Mapping[UUID, set[UUID]]) -> Set[UUID]:
        if isinstance(trigger, MeasureSpec):
            return self.by_spec.get(trigger, _NOBODY)
        if isinstance(trigger, Touch):
            return self.by_touch.get(trigger, _NOBODY)
        return self.by_segment.get(trigger, _NOBODY) | moved.get(trigger, _NOBODY)


_NOBODY: frozenset[UUID] = frozenset()


def may_touch(batch: EffectBatch, plan: Plan) -> bool:
    """Tell whether a batch may touch anybody, or fail to. Costs no statement."""
    return (
        bool(plan.unreadable)
        or any(one.subject == GONE_SUBJECT or one.subject in plan.rulings for one in batch.due)
        or not plan.specs.keys().isdisjoint(batch.names)
        or (bool(batch.scores_changed) and Touch.SCORE in plan.touches)
        or (bool(plan.rulings) and any(_may_touch(event, plan) for event in batch.told))
    )


def _may_touch(event: EffectEvent, plan: Plan) -> bool:
    if event.name in CHANGES_CONTACT:
        return Touch.CONTACT in plan.touches
    return event.name.startswith("contact.") or (bool(plan.dependents) and event.name in (ENTERED, EXITED))


def touched_by(
    batch: EffectBatch, plan: Plan, set_aside: Callable[[MeasureSpec, Exception], None]
) -> Touched:
    """Return what a batch touches; filters that fail are set aside."""
    about = [event for event in batch.told if event.name.startswith("contact.")]
    changed = {event.contact_id for event in about if event.name in CHANGES_CONTACT}
    return Touched(
        everywhere={event.contact_id for event in about if event.name not in CHANGES_CONTACT},
        by_touch={Touch.CONTACT: changed, Touch.SCORE: set(batch.scores_changed)},
        by_spec=_matched(batch, plan, set_aside),
        by_segment=_moved(batch.workspace_id, batch.told) if plan.dependents else {},
    )


def _matched(
    batch: EffectBatch, plan: Plan, set_aside: Callable[[MeasureSpec, Exception], None]
) -> dict[MeasureSpec, set[UUID]]:
    matched: dict[MeasureSpec, set[UUID]] = {}
    names = {event.name for event in batch.events}
    specs = [spec for name in names for spec in plan.specs.get(name, ())]
    isolate(
        specs,
        lambda some: matched.update(match_events(batch.workspace_id, batch.events, some)),
        set_aside,
    )
    return matched


def _moved(workspace_id: UUID, events: Sequence[EffectEvent]) -> dict[UUID, set[UUID]]:
    """Return who came into a segment or left it, as builds and people tell it in the stream."""
    contact_of = {event.id: event.contact_id for event in events if event.name in (ENTERED, EXITED)}
    if not contact_of:
        return {}
    rows = Event.objects.filter(
        workspace_id=workspace_id, id__in=contact_of, id__gte=min(contact_of), id__lte=max(contact_of)
    ).values_list("id", "properties__segmentId")
    moved: dict[UUID, set[UUID]] = defaultdict(set)
    for event_id, text in rows:
        if (segment_id := parse_uuid(text)) is not None:
            moved[segment_id].add(contact_of[event_id])
    return moved
