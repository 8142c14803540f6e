"""Check a definition against its workspace: segments and templates exist, values have their types, Liquid parses."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from campaigns.errors import InvalidDefinition, TemplateFault
from campaigns.journeys.definition.parser import Definition, parse_definition
from campaigns.journeys.definition.references import referenced_segments
from campaigns.journeys.definition.steps import CallWebhookStep, SendStep
from campaigns.messaging import liquid
from campaigns.models import Template
from config.db.read_once import is_reading_once, read_once
from config.values.json_size import has_too_many_keys
from events.rules.parser import declared_types
from segments.membership_conditions import known_segments

MAX_DEFINITION: Final = 1_000_000
"""Characters of JSON."""


def check_definition(
    workspace_id: UUID, raw: Mapping[str, Any], *, require_complete: bool = True
) -> Definition:
    """Parse a definition and check its segments, templates and Liquid. Raises InvalidDefinition."""
    if has_too_many_keys(raw):
        raise InvalidDefinition("workflow", f"A definition has at most {settings.MAX_KEYS:,} keys.")
    if len(json.dumps(raw)) > MAX_DEFINITION:
        raise InvalidDefinition("workflow", f"A definition has at most {MAX_DEFINITION:,} characters.")
    definition = parse_definition(raw, require_complete=require_complete, types=declared_types(workspace_id))
    named = list(referenced_segments(raw))
    known = known_segments(workspace_id, [target for _, target in named]) if named else set()
    for path, target in named:
        if target not in known:
            raise InvalidDefinition(path, "There is no such segment.")
    _check_templates(workspace_id, definition, raw)
    _check_calls(definition, raw)
    return definition


def _check_templates(workspace_id: UUID, definition: Definition, raw: Mapping[str, Any]) -> None:
    channels = _channels_of(workspace_id, definition.template_ids)
    for place, node in enumerate((raw.get("workflow") or {}).get("nodes") or ()):
        step = definition.nodes[node["id"]].step
        if not isinstance(step, SendStep):
            continue
        path = f"workflow.nodes[{place}].data.templateId"
        if step.template_id not in channels:
            raise InvalidDefinition(path, "There is no such template.")
        if channels[step.template_id] != step.channel:
            raise InvalidDefinition(path, "The template is for another channel.")


def _channels_of(workspace_id: UUID, template_ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the channels of templates that exist."""
    if is_reading_once():
        return _all_channels(workspace_id)
    templates = Template.objects.in_workspace(workspace_id).filter(id__in=template_ids)
    return dict(templates.values_list("id", "channel"))


@read_once
def _all_channels(workspace_id: UUID) -> dict[UUID, str]:
    return dict(Template.objects.in_workspace(workspace_id).values_list("id", "channel"))


def _check_calls(definition: Definition, raw: Mapping[str, Any]) -> None:
    """Check the Liquid of webhook steps. Raises InvalidDefinition."""
    for place, node in enumerate((raw.get("workflow") or {}).get("nodes") or ()):
        step = definition.nodes[node["id"]].step
        if not isinstance(step, CallWebhookStep):
            continue
        path = f"workflow.nodes[{place}].data"
        sources: list[tuple[str, str, liquid.Kind]] = [
            (f"{path}.url", step.url, "text"),
            (f"{path}.body", step.body, "json"),
            *((f"{path}.headers.{name}", value, "text") for name, value in step.headers.items()),
        ]
        for at, source, kind in sources:
            try:
                liquid.parse(source, kind)
            except TemplateFault as error:
                raise InvalidDefinition(at, error.message) from error
