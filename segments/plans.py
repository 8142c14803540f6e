"""The evaluation plan of a workspace: its segment rules by level, and what can change their answers.

Cached for a version of the rules, with the compiled statements.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any
from uuid import UUID

from config.db.statements import fetch_one
from events.aggregates.registry import ALL_LANES, built_aggregates
from events.errors import InvalidCondition
from events.rules import AggregateSpec, CompiledRules, Rule, aggregates_of_rule, parse_rule
from events.rules.durations import Offset, parse_moment
from events.rules.nodes import AttributeLeaf, Comparison, EventLeaf, RelativeWindow
from events.versioned_cache import VersionedCache
from segments.models import Segment

_MAX_RULE_VERSIONS = 50
_MOST_LEAVES = 300
"""Of one statement: PostgreSQL returns at most 1,664 columns from a subselect, and a leaf takes up to five."""


class InvalidationKind(Enum):
    """What can change a rule's answer besides events of a name."""

    CONTACT = "contact"
    SCORE = "score"


Trigger = AggregateSpec | InvalidationKind | UUID
"""Events of a name that pass filters; a change of the contact, of its score; the segment of this id."""


@dataclass(frozen=True)
class RuleVersion:
    """One version of a segment's rule, the one that serves or the draft."""

    segment_id: UUID
    version: UUID
    rule: Rule
    is_serving: bool

    @cached_property
    def triggers(self) -> frozenset[Trigger]:
        """What can change the rule's answer, time apart."""
        return frozenset(_triggers(self.rule))

    @cached_property
    def aggregates(self) -> frozenset[AggregateSpec]:
        """What its all-time conditions read, if it is built."""
        return aggregates_of_rule(self.rule)

    @cached_property
    def reads_windows(self) -> bool:
        """Whether some condition is on the events themselves, not on what is kept of them."""
        return any(
            leaf.window is not None or leaf.aggregation == "distinct" for leaf in self.rule.event_leaves
        )

    @cached_property
    def goes_with_time(self) -> bool:
        """Whether time alone can change the rule's answer."""
        return any(_goes_with_time(leaf) for leaf in self.rule.root.leaves())


@dataclass(frozen=True, slots=True)
class RuleVersionGroup:
    """Rules that the same changes invalidate, evaluated by one statement."""

    rule_versions: tuple[RuleVersion, ...]
    triggers: frozenset[Trigger]


@dataclass(slots=True)
class Plan:
    """The rules of a workspace. A rule comes in a later level than the segments that it builds on."""

    rule_versions: dict[UUID, RuleVersion]
    levels: list[list[RuleVersionGroup]]
    # All rules of each level, for contacts that anything may be true of.
    everything: list[list[RuleVersionGroup]]
    built: frozenset[AggregateSpec]
    # Rule versions whose rule cannot be read any more, and why.
    unreadable: list[tuple[RuleVersion, Exception]]
    specs: dict[str, set[AggregateSpec]] = field(default_factory=dict)
    invalidates: set[InvalidationKind] = field(default_factory=set)
    # By segment: the rules that build on it.
    dependents: dict[UUID, list[RuleVersion]] = field(default_factory=lambda: defaultdict(list))
    level_of: dict[UUID, int] = field(default_factory=dict)
    # Compiled statements, by the versions that they evaluate; kept by whoever compiles them.
    statements: dict[tuple[UUID, ...], Any] = field(default_factory=dict)
    # By level: the groups that one statement evaluates; cached in the same way.
    batches: dict[int, list[Any]] = field(default_factory=dict)
    # By version: the rule compiled so that events can be left out, and whether it holds of who has nothing at all.
    as_if_unknown: dict[UUID, CompiledRules] = field(default_factory=dict)
    holds_for_empty_contact: dict[UUID, bool] = field(default_factory=dict)


def plan_of(workspace_id: UUID) -> Plan:
    """Return the plan for the rules as they are; the caller holds them."""

    def make() -> Plan:
        return make_plan(_rule_versions(workspace_id), built_aggregates(workspace_id))

    return _plans.get(workspace_id, _fingerprint(workspace_id), make)


def cached_plan(workspace_id: UUID, rules_version: int | None) -> Plan | None:
    """Return the plan that is kept for this version of the rules, if any; a rule may have been parked since."""
    return _plans.peek(workspace_id, rules_version)


_plans: VersionedCache[Plan] = VersionedCache()


def make_plan(
    read: Sequence[RuleVersion | tuple[RuleVersion, Exception]], built: Collection[AggregateSpec]
) -> Plan:
    """Make the plan: order rules by level, and group them."""
    rule_versions = [result for result in read if isinstance(result, RuleVersion)]
    level_of = _levels({rule_version.version: rule_version for rule_version in rule_versions})
    groups: dict[tuple[int, frozenset[Trigger]], list[RuleVersion]] = defaultdict(list)
    for rule_version in rule_versions:
        groups[level_of[rule_version.version], rule_version.triggers].append(rule_version)
    depth = max(level_of.values(), default=-1) + 1
    levels: list[list[RuleVersionGroup]] = [[] for _ in range(depth)]
    for (level, triggers), members in groups.items():
        # In one order everywhere: groups that differ in a value alone are of one shape then.
        members.sort(key=lambda rule_version: repr(rule_version.rule.root))
        levels[level] += [RuleVersionGroup(chunk, triggers) for chunk in _chunks(members)]
    plan = Plan(
        rule_versions={rule_version.version: rule_version for rule_version in rule_versions},
        levels=levels,
        everything=[
            [
                RuleVersionGroup(chunk, frozenset())
                for chunk in _chunks(
                    [
                        rule_version
                        for rule_version in rule_versions
                        if level_of[rule_version.version] == level
                    ]
                )
            ]
            for level in range(depth)
        ],
        built=frozenset(built),
        unreadable=[result for result in read if isinstance(result, tuple)],
        level_of=level_of,
    )
    for rule_version in rule_versions:
        for trigger in rule_version.triggers:
            if isinstance(trigger, AggregateSpec):
                plan.specs.setdefault(trigger.event_name, set()).add(trigger)
            elif isinstance(trigger, UUID):
                plan.dependents[trigger].append(rule_version)
            else:
                plan.invalidates.add(trigger)
    return plan


def parse_rule_version(
    segment: Segment, raw: Any, version: UUID
) -> RuleVersion | tuple[RuleVersion, Exception]:
    """Read a stored rule; with its error where it was valid once and is no more."""
    is_serving = version == segment.version
    try:
        return RuleVersion(segment.id, version, parse_rule(raw), is_serving)
    except InvalidCondition as error:
        nothing = parse_rule({"operator": "OR", "conditions": [{"type": "tag", "value": "-"}]})
        return RuleVersion(segment.id, version, nothing, is_serving), error


def _fingerprint(workspace_id: UUID) -> tuple[Any, ...]:
    row: tuple[Any, ...] = fetch_one(
        "SELECT (SELECT version FROM events_rulesversion WHERE workspace_id = %s),"
        " ARRAY(SELECT id FROM segments_segment WHERE workspace_id = %s"
        "  AND (parked_at IS NOT NULL OR build = 'failed') ORDER BY id)::text,"
        " ARRAY(SELECT id FROM events_aggregate WHERE workspace_id = %s AND lanes_built = %s ORDER BY id)::text",
        [workspace_id, workspace_id, workspace_id, ALL_LANES],
    )
    return row


def _rule_versions(workspace_id: UUID) -> list[RuleVersion | tuple[RuleVersion, Exception]]:
    found = []
    for segment in Segment.objects.in_workspace(workspace_id).dynamic().order_by("id"):
        if segment.rule is not None and segment.parked_at is None:
            found.append(parse_rule_version(segment, segment.rule, segment.version))
        if segment.draft_version is not None and segment.build != Segment.Build.FAILED:
            found.append(parse_rule_version(segment, segment.draft_rule, segment.draft_version))
    return found


def _levels(rule_versions: dict[UUID, RuleVersion]) -> dict[UUID, int]:
    """Return the level of each version: above every version of the segments that it builds on."""
    of_segment: dict[UUID, list[RuleVersion]] = defaultdict(list)
    for rule_version in rule_versions.values():
        of_segment[rule_version.segment_id].append(rule_version)
    level_of: dict[UUID, int] = {}

    def level(rule_version: RuleVersion) -> int:
        if rule_version.version not in level_of:
            # Cycles are refused when a rule is saved; one that came by another way ends here.
            level_of[rule_version.version] = 0
            below = [
                lower for segment_id in rule_version.rule.segment_ids for lower in of_segment[segment_id]
            ]
            level_of[rule_version.version] = 1 + max(
                (level(lower) for lower in below if lower.is_serving), default=-1
            )
        return level_of[rule_version.version]

    for rule_version in rule_versions.values():
        level(rule_version)
    return level_of


def _chunks(rule_versions: Sequence[RuleVersion]) -> Iterable[tuple[RuleVersion, ...]]:
    chunk: list[RuleVersion] = []
    leaves = 0
    for rule_version in rule_versions:
        own = sum(1 for _ in rule_version.rule.root.leaves())
        if chunk and (len(chunk) == _MAX_RULE_VERSIONS or leaves + own > _MOST_LEAVES):
            yield tuple(chunk)
            chunk, leaves = [], 0
        chunk.append(rule_version)
        leaves += own
    if chunk:
        yield tuple(chunk)


def _triggers(rule: Rule) -> Iterable[Trigger]:
    for leaf in rule.event_leaves:
        yield AggregateSpec(leaf.event_name, leaf.filters, "")
    yield from rule.segment_ids
    if rule.reads_contact:
        yield InvalidationKind.CONTACT
    if rule.reads_score:
        yield InvalidationKind.SCORE


def _goes_with_time(leaf: object) -> bool:
    if isinstance(leaf, EventLeaf):
        return isinstance(leaf.window, RelativeWindow) or _moves(leaf.comparison)
    return isinstance(leaf, AttributeLeaf) and _moves(leaf.comparison)


def _moves(comparison: Comparison) -> bool:
    return comparison.operator == "within" or (
        comparison.operator in ("before", "after") and isinstance(parse_moment(comparison.value), Offset)
    )
