"""Whole rules, several at once: what they ask is asked once for all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from uuid import UUID

from django.conf import settings
from django.utils.module_loading import import_string

from config.db.sql import Sql, join, sql
from events.rules.compiler.aggregates import Aggregates, aggregate_spec, uses_maintained_aggregate
from events.rules.compiler.columns import MOST_COLUMNS, Columns
from events.rules.compiler.comparisons import Answer, compare
from events.rules.compiler.contacts import (
    CONTACT,
    compare_channel,
    compare_company,
    compare_tag,
    contact_field,
)
from events.rules.compiler.groups import Groups, LeafColumns
from events.rules.compiler.parameters import AggregateSpec
from events.rules.compiler.scans import Scan
from events.rules.conditions import EventConditions
from events.rules.nodes import (
    AttributeLeaf,
    ChannelLeaf,
    CompanyLeaf,
    EventLeaf,
    Leaf,
    PropertyLeaf,
    Rule,
    SegmentLeaf,
    TagLeaf,
)

# Python's moments end with the year 9999; what would change after that never does.
_NEVER = "'9999-12-31'::timestamptz"


@dataclass(frozen=True)
class CompiledRules:
    """SQL that decides several rules at once: see the package."""

    joins: Sql
    matches: list[Sql]
    next_at: list[Sql]
    # In the order of `Group.leaves`, and the groups by identity; to explain.
    leaves: list[list[LeafColumns]]
    groups: dict[int, tuple[Sql, Sql]]

    @cached_property
    def shape(self) -> object:
        """What rules have in common that one statement can decide: all but the values of their parameters."""
        return self.joins.shape, tuple(self.matches), tuple(self.next_at)


def aggregates_of_rule(rule: Rule) -> frozenset[AggregateSpec]:
    """Return what the rule's all-time conditions read."""
    return frozenset(aggregate_spec(leaf) for leaf in rule.event_leaves if uses_maintained_aggregate(leaf))


def compile_rules(
    rules: Sequence[Rule],
    *,
    built: Collection[AggregateSpec] = (),
    explain: bool = False,
    as_if_unknown: bool = False,
) -> CompiledRules:
    """Compile rules so that each contact's events of one name are read once for all of them.

    `built` are the measures whose aggregates can be relied on; others are read from the stream. With
    `as_if_unknown`, `b` has a column `unknown` (uuid[]) besides: events that the stream is read without.
    """
    return _Compiler(built, explain, as_if_unknown).compile(rules)


class _Compiler:
    def __init__(self, built: Collection[AggregateSpec], explain: bool, as_if_unknown: bool) -> None:
        self.built = built
        self.explain = explain
        self.as_if_unknown = as_if_unknown
        self.scans: dict[tuple[str, bool], list[Scan]] = {}
        self.aggregates = Aggregates()
        self.triggers: list[EventConditions] = []
        self.trigger_fields: dict[str, Sql] = {}
        self.contact = Columns("contact")
        self.contact_fields: dict[str, Sql] = {}
        self.leaves = Columns("leaf")

    def compile(self, rules: Sequence[Rule]) -> CompiledRules:
        places = [[self._place(self._answer(leaf)) for leaf in rule.root.leaves()] for rule in rules]
        groups = Groups()
        roots = [groups.add(rule.root, iter(columns)) for rule, columns in zip(rules, places, strict=True)]
        joins = [*self.contact.joins(CONTACT), *self._trigger_joins(), *self.aggregates.joins()]
        joins += [scan.join() for scans in self.scans.values() for scan in scans]
        joins += [*self.leaves.joins(), *groups.joins()]
        return CompiledRules(
            joins=join("\n", joins),
            matches=[matches for matches, _ in roots],
            next_at=[next_at for _, next_at in roots],
            leaves=places,
            groups=groups.names,
        )

    def _place(self, answer: Answer) -> LeafColumns:
        next_at = sql("NULL::timestamptz")
        if answer.next_at is not None:
            next_at = sql(f"NULLIF(LEAST({{}}, {_NEVER}), {_NEVER})", answer.next_at)
        return LeafColumns(
            self.leaves.add(sql("COALESCE({}, false)", answer.matches)),
            self.leaves.add(next_at),
            self.leaves.add(answer.value) if self.explain else Sql(),
            self.leaves.add(answer.events) if self.explain else Sql(),
        )

    def _answer(self, leaf: Leaf) -> Answer:
        if isinstance(leaf, EventLeaf):
            return self._event(leaf)
        if isinstance(leaf, AttributeLeaf):
            return compare(self._attribute(leaf.field), leaf.comparison)
        if isinstance(leaf, PropertyLeaf):
            return compare(self._trigger_field(leaf.field), leaf.comparison)
        if isinstance(leaf, ChannelLeaf):
            return compare_channel(leaf)
        if isinstance(leaf, TagLeaf):
            return compare_tag(leaf)
        if isinstance(leaf, CompanyLeaf):
            return compare_company(leaf)
        return self._segment(leaf)

    def _segment(self, leaf: SegmentLeaf) -> Answer:
        member, next_at = rule_source("segment")(leaf.segment_id)
        matches = member if leaf.is_wanted else sql("NOT {}", member)
        # Whoever comes into that segment or leaves it is evaluated then, so no timer is needed for it.
        return Answer(matches, next_at if self.explain else None, sql("to_jsonb({})", member))

    def _attribute(self, name: str) -> Sql:
        if name not in self.contact_fields:
            self.contact_fields[name] = self.contact.add(contact_field(name))
        return self.contact_fields[name]

    def _trigger_field(self, name: str) -> Sql:
        if name not in self.trigger_fields:
            if len(self.trigger_fields) % MOST_COLUMNS == 0:
                self.triggers.append(EventConditions("t"))
            column = self.triggers[-1].column(name)
            self.trigger_fields[name] = sql(f"trigger{len(self.triggers) - 1}.{{}}", column)
        return self.trigger_fields[name]

    def _trigger_joins(self) -> list[Sql]:
        return [
            sql(f"CROSS JOIN LATERAL (SELECT {{}} OFFSET 0) trigger{place}", conditions.columns)
            for place, conditions in enumerate(self.triggers)
        ]

    def _event(self, leaf: EventLeaf) -> Answer:
        is_kept = uses_maintained_aggregate(leaf) and aggregate_spec(leaf) in self.built
        answer = self.aggregates.answer(leaf) if is_kept else self._scan(leaf).answer(leaf)
        if not self.explain:
            return answer
        events = self._scan(leaf, shown=True).shown(leaf)
        return Answer(answer.matches, answer.next_at, answer.value, events)

    def _scan(self, leaf: EventLeaf, *, shown: bool = False) -> Scan:
        scans = self.scans.setdefault((leaf.event_name, shown), [])
        if not scans or scans[-1].is_full:
            number = sum(map(len, self.scans.values()))
            scans.append(Scan(leaf.event_name, f"scan{number}", self.as_if_unknown))
        return scans[-1]


@cache
def rule_source(kind: str) -> Callable[[UUID], tuple[Sql, Sql]]:
    """Return what an upper app adds to the language (see `settings.RULE_SOURCES`): the condition, its next moment."""
    source: Callable[[UUID], tuple[Sql, Sql]] = import_string(settings.RULE_SOURCES[kind])
    return source
