"""References between objects: ids in the database, names in files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any, Final
from uuid import UUID

from config.files.documents import InvalidDocument
from config.ids import NO_ID, parse_uuid

SEGMENT: Final = "segment"
TEMPLATE: Final = "template"
_IDS: Final = {SEGMENT: "segmentId", TEMPLATE: "templateId"}
"""The key of an id, by the key that names the same in a file."""

Rename = Callable[[Mapping[str, Any], str, str], dict[str, Any]]
"""Replaces a reference: the object that has it, its path, and SEGMENT or TEMPLATE."""


@dataclass(slots=True)
class Names:
    """The names of what can be referred to, by id, for SEGMENT and TEMPLATE."""

    by_id: dict[str, dict[UUID, str]] = field(default_factory=lambda: {SEGMENT: {}, TEMPLATE: {}})

    def to_name(self, holder: Mapping[str, Any], path: str, kind: str) -> dict[str, Any]:
        """Replace an id by the name; the id of what is gone stays."""
        found = self.by_id[kind].get(parse_uuid(holder.get(_IDS[kind])) or NO_ID)
        if found is None:
            return dict(holder)
        return {
            kind if key == _IDS[kind] else key: found if key == _IDS[kind] else item
            for key, item in holder.items()
        }

    def to_id(self, holder: Mapping[str, Any], path: str, kind: str) -> dict[str, Any]:
        """Replace a name by the id. Raises InvalidDocument for a name that nothing has."""
        if kind not in holder:
            return dict(holder)
        name = holder[kind]
        found = next((id_ for id_, known in self.by_id[kind].items() if known == name), None)
        if found is None:
            raise InvalidDocument(f"{path}.{kind}".lstrip("."), f"There is no {kind} called “{name}”.")
        return {**{key: item for key, item in holder.items() if key != kind}, _IDS[kind]: str(found)}


def rename_in_rule(raw: Any, path: str, rename: Rename) -> Any:
    """Return a rule with every reference to a segment replaced; what is no rule is left to its parser."""
    if not isinstance(raw, Mapping):
        return raw
    children = raw.get("conditions")
    if isinstance(children, list):
        return {
            **raw,
            "conditions": [
                rename_in_rule(child, f"{path}.conditions[{place}]", rename)
                for place, child in enumerate(children)
            ],
        }
    return rename(raw, path, SEGMENT) if raw.get("type") == "segment" else dict(raw)


def rename_in_definition(raw: Mapping[str, Any], rename: Rename) -> dict[str, Any]:
    """Return a campaign's definition with every reference to a segment or template replaced."""
    renamed = dict(raw)
    if isinstance(raw.get("triggers"), list):
        renamed["triggers"] = [
            _with_condition(
                rename(trigger, f"triggers[{place}]", SEGMENT) if isinstance(trigger, Mapping) else trigger,
                f"triggers[{place}]",
                rename,
            )
            for place, trigger in enumerate(raw["triggers"])
        ]
    renamed["goal"] = _with_condition(raw.get("goal"), "goal", rename)
    if isinstance(raw.get("exits"), list):
        renamed["exits"] = [
            _with_condition(item, f"exits[{place}]", rename) for place, item in enumerate(raw["exits"])
        ]
    workflow = raw.get("workflow")
    if isinstance(workflow, Mapping) and isinstance(workflow.get("nodes"), list):
        nodes = [
            _renamed_node(node, f"workflow.nodes[{place}]", rename)
            for place, node in enumerate(workflow["nodes"])
        ]
        renamed["workflow"] = {**workflow, "nodes": nodes}
    return renamed


def segments_named_in_rule(raw: Any) -> Iterator[str]:
    """Yield the names of the segments that a rule of a file builds on."""
    found: list[str] = []

    def note(holder: Mapping[str, Any], path: str, kind: str) -> dict[str, Any]:
        if isinstance(holder.get(kind), str):
            found.append(holder[kind])
        return dict(holder)

    rename_in_rule(raw, "", note)
    yield from found


def in_order(needs: Mapping[str, Collection[str]]) -> list[str]:
    """Return names such that each follows what it needs. Raises ValueError with a chain that needs itself."""
    known = {name: sorted(needed for needed in needs[name] if needed in needs) for name in sorted(needs)}
    try:
        return list(TopologicalSorter(known).static_order())
    except CycleError as error:
        # There, what needs another comes after it; where the ring begins is by chance.
        ring = list(reversed(error.args[1][1:]))
        first = ring.index(min(ring))
        raise ValueError(" → ".join([*ring[first:], *ring[:first], ring[first]])) from error


def _with_condition(raw: Any, path: str, rename: Rename) -> Any:
    if not isinstance(raw, Mapping) or "condition" not in raw:
        return raw
    return {**raw, "condition": rename_in_rule(raw["condition"], f"{path}.condition", rename)}


def _renamed_node(node: Any, path: str, rename: Rename) -> Any:
    if not isinstance(node, Mapping) or not isinstance(node.get("data"), Mapping):
        return node
    at = f"{path}.data"
    data = _with_condition(node["data"], at, rename)
    if node.get("type") == "send":
        data = rename(data, at, TEMPLATE)
    if isinstance(data.get("branches"), list):
        branches = [
            _with_condition(branch, f"{at}.branches[{place}]", rename)
            for place, branch in enumerate(data["branches"])
        ]
        data = {**data, "branches": branches}
    return {**node, "data": data}
