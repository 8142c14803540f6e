"""The tree of an explained rule, as a template shows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from django.urls import reverse

from config.ids import parse_uuid
from segments.models import Segment
from segments.rule_text import as_text, worded

# Explanations ------------------------------------------------------------------------------------------------


def node_of(tree: Mapping[str, Any], workspace_id: UUID) -> dict[str, Any]:
    """Return a rule, or the tree that explains it, as the template shows it; segments by their names."""
    ids = {identifier for leaf in _leaves(tree) if (identifier := parse_uuid(leaf.get("segmentId")))}
    named = Segment.objects.in_workspace(workspace_id).filter(pk__in=ids) if ids else ()
    return _node(tree, {str(segment.pk): segment.name for segment in named})


def _leaves(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "conditions" not in tree:
        yield tree
    for child in tree.get("conditions", ()):
        yield from _leaves(child)


def _node(tree: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    is_group, is_explained = "conditions" in tree, "matches" in tree
    return {
        "words": worded(tree, names),
        "is_group": is_group,
        "is_explained": is_explained,
        "holds": tree.get("matches"),
        "saw": as_text(tree.get("actual")) if is_explained and not is_group else "",
        "changes_at": tree.get("changesAt"),
        "events": [_event(event) for event in tree.get("events", ())],
        "children": [_node(child, names) for child in tree.get("conditions", ())],
    }


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": reverse("admin:events_event_change", args=[event["id"]]),
        "timestamp": event["timestamp"],
        "value": as_text(event["value"]) if event.get("value") is not None else "",
    }
