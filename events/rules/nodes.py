"""The nodes of a parsed rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Literal
from uuid import UUID

from events.rules.durations import Offset, is_timestamp, parse_moment

EQUALITY = frozenset({"eq", "neq", "in", "not_in"})


@dataclass(frozen=True, slots=True)
class Group:
    """AND: all hold. OR: at least one holds. NOT: none holds."""

    operator: Literal["AND", "OR", "NOT"]
    children: tuple[Node, ...]

    def leaves(self) -> Iterator[Leaf]:
        """Walk the leaves, left to right."""
        for child in self.children:
            if isinstance(child, Group):
                yield from child.leaves()
            else:
                yield child


@dataclass(frozen=True, slots=True)
class Comparison:
    """An operator with its value. A missing value fulfils none, unless `when_missing` says that it does."""

    operator: str
    value: Any = None
    when_missing: bool = False

    @property
    def as_moments(self) -> bool:
        """Whether values are compared as times, however these are written."""
        wanted = self.value if isinstance(self.value, tuple) else (self.value,)
        return self.operator in EQUALITY and all(map(is_timestamp, wanted))

    @property
    def depends_on_clock(self) -> bool:
        """Whether time alone may change the answer."""
        return self.operator == "within" or (
            self.operator in ("before", "after") and isinstance(parse_moment(self.value), Offset)
        )


@dataclass(frozen=True, slots=True)
class PropertyLeaf:
    """A field of the event itself: the one that triggers, or the one that an event condition counts."""

    field: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class AttributeLeaf:
    """A field of the contact."""

    field: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class RelativeWindow:
    """The time that reaches back from now: an event lapses exactly `length` after it happened."""

    length: timedelta


@dataclass(frozen=True, slots=True)
class AbsoluteWindow:
    """The time from `start` on and before `end`; None: no bound."""

    start: datetime | None
    end: datetime | None


def written(node: Node) -> dict[str, Any]:
    """Return a tree over an event's own fields as JSON."""
    if isinstance(node, Group):
        return {"operator": node.operator, "conditions": [written(child) for child in node.children]}
    if not isinstance(node, PropertyLeaf):
        raise TypeError(node)
    comparison = node.comparison
    leaf: dict[str, Any] = {"field": node.field, "operator": comparison.operator}
    if comparison.value is not None:
        value = comparison.value
        leaf["value"] = list(value) if isinstance(value, tuple) else value
    if comparison.when_missing:
        leaf["whenMissing"] = True
    return leaf


Window = RelativeWindow | AbsoluteWindow | None
Aggregation = Literal["count", "sum", "avg", "min", "max", "first", "last", "distinct"]


@dataclass(frozen=True, slots=True)
class EventLeaf:
    """An aggregation over the contact's events of one name in a window; no event counts as zero."""

    event_name: str
    aggregation: Aggregation
    property: str
    window: Window
    filters: Group | None
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class ChannelLeaf:
    """Consent on a channel; status None: the contact never said."""

    channel: str
    status: str | None


@dataclass(frozen=True, slots=True)
class TagLeaf:
    """Whether the contact has a tag."""

    name: str
    is_wanted: bool


@dataclass(frozen=True, slots=True)
class CompanyLeaf:
    """A field of one of the contact's companies; an empty field: whether it has a company at all."""

    field: str
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class SegmentLeaf:
    """Whether the contact is in another segment."""

    segment_id: UUID
    is_wanted: bool


Leaf = PropertyLeaf | AttributeLeaf | EventLeaf | ChannelLeaf | TagLeaf | CompanyLeaf | SegmentLeaf
Node = Group | Leaf


@dataclass(frozen=True)
class Rule:
    """A parsed rule; its root is always a group."""

    root: Group

    @cached_property
    def event_leaves(self) -> tuple[EventLeaf, ...]:
        """The conditions on the contact's events."""
        return tuple(leaf for leaf in self.root.leaves() if isinstance(leaf, EventLeaf))

    @cached_property
    def event_names(self) -> frozenset[str]:
        """The names of events that may change its answer."""
        return frozenset(leaf.event_name for leaf in self.event_leaves)

    @cached_property
    def segment_ids(self) -> frozenset[UUID]:
        """The segments that it builds on."""
        return frozenset(leaf.segment_id for leaf in self.root.leaves() if isinstance(leaf, SegmentLeaf))

    @cached_property
    def reads_score(self) -> bool:
        """Whether a change of the score may change its answer."""
        return any(isinstance(leaf, AttributeLeaf) and leaf.field == "score" for leaf in self.root.leaves())

    @cached_property
    def reads_contact(self) -> bool:
        """Whether a change of the contact, its tags, consents or companies may change its answer."""
        return any(
            isinstance(leaf, ChannelLeaf | TagLeaf | CompanyLeaf)
            or (isinstance(leaf, AttributeLeaf) and leaf.field != "score")
            for leaf in self.root.leaves()
        )

    @cached_property
    def reads_only_event(self) -> bool:
        """Whether the triggering event alone decides, now as ever."""
        return all(
            isinstance(leaf, PropertyLeaf) and not leaf.comparison.depends_on_clock
            for leaf in self.root.leaves()
        )
