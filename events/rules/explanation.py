"""Explain why a rule holds for a contact, or not: the deciding SQL, with what each condition saw."""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from config.db.sql import Sql, join, sql
from config.db.statements import fetch_one
from config.http.rendering import iso_millis
from contacts.models import Contact
from events.rules.compiler import AggregateSpec, CompiledRules, LeafColumns, bound_values, compile_rules
from events.rules.nodes import EventLeaf, Group, Node, Rule


def explain_contact(
    workspace_id: UUID,
    rule: Rule,
    raw: Mapping[str, Any],
    contact_id: UUID,
    as_of: datetime,
    built: Collection[AggregateSpec] = (),
    *,
    until: datetime | None = None,
) -> dict[str, Any]:
    """Return the rule's tree as it was written, each node with `matches` and `changesAt`.

    A leaf also has `actual`, what was compared, and an event condition its latest `events` (at most 20), each
    with id, timestamp and value. `changesAt` is the earliest moment at which time alone can change the node.
    `until`: the last moment whose events count, by default the one that is asked about.
    """
    compiled = compile_rules([rule], built=built, explain=True)
    row = _decide(workspace_id, compiled, contact_id, as_of, until or as_of)
    written = raw if "conditions" in raw else {"operator": "AND", "conditions": [raw]}
    return _explain(rule.root, written, iter(compiled.leaves[0]), compiled, row)


def _decide(
    workspace_id: UUID, compiled: CompiledRules, contact_id: UUID, as_of: datetime, until: datetime
) -> dict[Sql, Any]:
    columns = [name for leaf in compiled.leaves[0] for name in (leaf.matches, leaf.next_at)]
    columns += [name for names in compiled.groups.values() for name in names]
    json_columns = [name for leaf in compiled.leaves[0] for name in (leaf.value, leaf.events)]
    casts = [*columns, *(sql("{}::text", name) for name in json_columns)]
    columns += json_columns
    ids = [
        contact_id,
        *Contact.objects.in_workspace(workspace_id)
        .filter(merged_into=contact_id)
        .values_list("id", flat=True),
    ]
    statement = sql(
        "SELECT {} FROM (SELECT {:uuid} AS contact_id, {:uuid[]} AS ids, {:timestamptz} AS as_of,"
        " {:timestamptz} AS until, NULL::numeric AS score) b {}",
        join(", ", casts),
        contact_id,
        ids,
        as_of,
        until,
        compiled.joins,
    )
    row = fetch_one(statement, bound_values(workspace_id, as_of, until))
    return dict(zip(columns, row or [None] * len(columns), strict=True))


def _explain(
    node: Node,
    raw: Mapping[str, Any],
    leaves: Iterator[LeafColumns],
    compiled: CompiledRules,
    row: Mapping[Sql, Any],
) -> dict[str, Any]:
    if isinstance(node, Group):
        matches, next_at = compiled.groups[id(node)]
        return {
            "operator": node.operator,
            "matches": bool(row[matches]),
            "changesAt": _moment(row[next_at]),
            "conditions": [
                _explain(child, written, leaves, compiled, row)
                for child, written in zip(node.children, raw["conditions"], strict=True)
            ],
        }
    columns = next(leaves)
    answer = {
        **raw,
        "matches": bool(row[columns.matches]),
        "actual": _json(row[columns.value]),
        "changesAt": _moment(row[columns.next_at]),
    }
    if isinstance(node, EventLeaf):
        answer["events"] = [
            {
                "id": event["id"],
                "timestamp": iso_millis(datetime.fromisoformat(event["at"])),
                "value": event["value"],
            }
            for event in _json(row[columns.events]) or ()
        ]
    return answer


def _moment(moment: datetime | None) -> str | None:
    return iso_millis(moment) if moment is not None else None


def _json(text: str | None) -> Any:
    return orjson.loads(text) if text is not None else None
