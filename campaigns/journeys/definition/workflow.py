"""The workflow graph of a campaign: nodes, edges, and where enrollments start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from campaigns.journeys.definition.steps import NEXT, StartStep, Step, parse_step, step_handles
from campaigns.journeys.definition.values import MAX_ID, RuleContext
from config.values.json_values import JsonValue

MAX_NODES = 200


@dataclass(frozen=True, slots=True)
class Node:
    """A step and the next node by handle; a handle without a next node ends the enrollment."""

    id: str
    step: Step
    next: Mapping[str, str] = field(default_factory=dict)


def parse_workflow(
    value: JsonValue, context: RuleContext, *, require_complete: bool
) -> tuple[dict[str, Node], str | None]:
    """Return the nodes by id, and the id of the first; None where an incomplete draft has none yet."""
    if value.raw is None and not require_complete:
        return {}, None
    value.as_object({"nodes", "edges"})
    steps = dict(_parse_nodes(value.get("nodes"), context))
    edges = _parse_edges(value.get("edges"), steps)
    nodes = {id_: Node(id_, step, edges.get(id_, {})) for id_, step in steps.items()}
    if cycle := _find_cycle(nodes):
        value.get("edges").fail(f"The way leads in a circle: {' → '.join(cycle)}.")
    return nodes, _start_of(value, nodes, require_complete=require_complete)


def _parse_nodes(value: JsonValue, context: RuleContext) -> Iterator[tuple[str, Step]]:
    seen: set[str] = set()
    for node in value.items(MAX_NODES):
        node.as_object({"id", "type", "data", "position"})
        id_ = node.get("id")
        if (
            not isinstance(id_.raw, str)
            or not 0 < len(id_.raw) <= MAX_ID
            or id_.raw in seen
            or ":" in id_.raw
        ):
            id_.fail(f"The id must be a text of its own, up to {MAX_ID} characters, with no colon.")
        seen.add(id_.raw)
        yield id_.raw, parse_step(node, context)


def _parse_edges(value: JsonValue, steps: Mapping[str, Step]) -> dict[str, dict[str, str]]:
    """Return the target of each edge, by source and handle."""
    targets: dict[str, dict[str, str]] = {}
    for edge in value.items(MAX_NODES * 4):
        # An editor numbers and labels its edges.
        edge.as_object({"id", "label", "source", "target", "sourceHandle"})
        for key in ("source", "target"):
            if not isinstance(edge.get(key).raw, str) or edge.get(key).raw not in steps:
                edge.get(key).fail("There is no such node.")
        source, handle = edge.raw["source"], edge.get("sourceHandle").raw or NEXT
        if not isinstance(handle, str) or handle not in step_handles(steps[source]):
            edge.get("sourceHandle").fail("The node has no such handle.")
        if handle in targets.setdefault(source, {}):
            edge.fail("Another edge leaves the node there.")
        targets[source][handle] = edge.raw["target"]
    return targets


def _start_of(workflow: JsonValue, nodes: Mapping[str, Node], *, require_complete: bool) -> str | None:
    """Return the node where enrollments start: the start step, or else the only one that no edge leads to."""
    targets = {target for node in nodes.values() for target in node.next.values()}
    marked = [node.id for node in nodes.values() if isinstance(node.step, StartStep)]
    starts = marked or [id_ for id_ in nodes if id_ not in targets]
    if len(starts) == 1:
        start = starts[0]
        if start in targets:
            workflow.get("edges").fail("No edge may lead to where runs begin.")
        if require_complete and (unreachable := sorted(nodes.keys() - _reachable(nodes, start))):
            workflow.get("nodes").fail(f"No way leads to {', '.join(unreachable)}.")
        return start
    if require_complete or len(marked) > 1:
        workflow.get("nodes").fail("There must be one node at which runs begin.")
    return None


def _find_cycle(nodes: Mapping[str, Node]) -> list[str] | None:
    """Return the ids of a cycle, the first one repeated at the end; None if there is none."""
    done: set[str] = set()
    for start in nodes:
        path: list[str] = []
        waiting: list[tuple[str, bool]] = [(start, False)]
        while waiting:
            at, is_left = waiting.pop()
            if is_left:
                done.add(path.pop())
            elif at in path:
                return [*path[path.index(at) :], at]
            elif at not in done:
                path.append(at)
                waiting.append((at, True))
                waiting.extend((target, False) for target in nodes[at].next.values())
    return None


def _reachable(nodes: Mapping[str, Node], start: str) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        new = set(nodes[waiting.pop()].next.values()) - reached
        reached |= new
        waiting.extend(new)
    return reached
