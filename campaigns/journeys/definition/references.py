"""What the JSON of a definition refers to: segments, and the scopes that a caller needs for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from config.ids import parse_uuid
from events.rules import scopes_required_by_event, scopes_required_by_rule
from events.rules.parser import referenced_segment_ids


def referenced_segments(raw: Mapping[str, Any]) -> Iterator[tuple[str, UUID]]:
    """Yield the segments that a valid definition refers to, each with the path of its id."""
    for place, trigger in enumerate(raw.get("triggers") or ()):
        if (target := parse_uuid(trigger.get("segmentId"))) is not None:
            yield f"triggers[{place}].segmentId", target
    for path, rule in _rules_of(raw):
        yield from referenced_segment_ids(rule, path)


def _rules_of(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for place, trigger in enumerate(raw.get("triggers") or ()):
        yield f"triggers[{place}].condition", trigger.get("condition")
    if goal := raw.get("goal"):
        yield "goal.condition", goal.get("condition")
    for place, item in enumerate(raw.get("exits") or ()):
        yield f"exits[{place}].condition", item.get("condition")
    for place, node in enumerate((raw.get("workflow") or {}).get("nodes") or ()):
        at, data = f"workflow.nodes[{place}].data", node.get("data") or {}
        yield f"{at}.condition", data.get("condition")
        for number, branch in enumerate(data.get("branches") or ()):
            yield f"{at}.branches[{number}].condition", branch.get("condition")


def required_scopes(raw: object) -> set[str]:
    """Return the scopes needed to save a definition: to do what steps do, and to read what rules read.

    `raw` need not be valid: unreadable parts are skipped.
    """
    body = raw if isinstance(raw, Mapping) else {}
    needed: set[str] = set()
    workflow = body.get("workflow")
    nodes = workflow.get("nodes") if isinstance(workflow, Mapping) else None
    for node in nodes if isinstance(nodes, list) else ():
        kind = node.get("type") if isinstance(node, Mapping) else None
        needed.update(_STEP_SCOPES.get(kind, "").split() if isinstance(kind, str) else ())
    return needed | _scopes_required_by(body)


def _scopes_required_by(raw: object) -> set[str]:
    """Return the scopes to read what rules, triggers and segment ids anywhere in a definition refer to."""
    if isinstance(raw, list):
        return set().union(*map(_scopes_required_by, raw))
    if not isinstance(raw, Mapping):
        return set()
    found: set[str] = set()
    if raw.get("condition") is not None:
        found |= scopes_required_by_rule(raw["condition"]) | scopes_required_by_event(raw.get("eventType"))
    found |= {"contacts:read"} if raw.get("type") in _CONTACT_TRIGGERS else set()
    found |= {"segments:read"} if raw.get("segmentId") is not None else set()
    within = (value for name, value in raw.items() if name not in ("condition", "attributes", "properties"))
    return found.union(*map(_scopes_required_by, within))


# These reveal a value or a tag of the contact.
_CONTACT_TRIGGERS: Final = ("ATTRIBUTE_CHANGED", "TAG_ADDED", "TAG_REMOVED", "DATE")
_STEP_SCOPES: Final = {
    "send": "messages:write",
    "update": "contacts:write",
    "tag": "contacts:write",
    "record": "events:write",
    # It sends the contact's data out.
    "webhook": "messages:write contacts:read events:read",
}
