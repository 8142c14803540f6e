"""Warnings about templates and campaigns that do not prevent saving them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import connection
from django.db.models import F, Func, TextField, Value
from django.db.models.expressions import Combinable

from campaigns.errors import InvalidDefinition
from campaigns.journeys.definition.parser import Definition, parse_definition
from campaigns.journeys.definition.steps import BranchStep, WaitForEventStep
from campaigns.journeys.definition.triggers import EventTrigger
from campaigns.journeys.definition.values import EventMatch
from campaigns.models import Campaign, CampaignVersion, Form, Template
from campaigns.models.messages import Channel
from config.ids import parse_uuid
from events.rules import Rule, find_rule_warnings

# Patterns for both Python and PostgreSQL, where a pattern is lazy as a whole or not at all.
_LINKED: Final = r"""\{[{%]-?([^{}]*[^.\w{}'"])?(unsubscribeUrl|preferencesUrl)(?!\w)"""
_UNSEEN: Final = (
    r"<!--.*?(-->|\Z)",
    r"\{%[^%\w]*?comment.*?(endcomment|\Z)",
    r"\{%[^%\w]*?raw.*?(endraw|\Z)",
)
"""Comments and raw blocks: links in them are not rendered."""
_NO_LINK: Final = (
    "there is no link to unsubscribe, {{ unsubscribeUrl }} or {{ preferencesUrl }}: only a transactional message may"
    " be without"
)


def template_warnings(workspace_id: UUID, templates: Sequence[Template]) -> dict[UUID, list[str]]:
    """Return, by template, which parts of marketing e-mails lack an unsubscribe link.

    A template that nothing sends yet counts as marketing. Two statements for any number of templates.
    """
    odd = {template.pk: parts for template in templates if (parts := _parts_without_link(template))}
    transactional = _only_transactional(workspace_id) if odd else set()
    return {
        template.pk: []
        if template.pk in transactional
        else [f"{part}: {_NO_LINK}" for part in odd.get(template.pk, ())]
        for template in templates
    }


def campaign_warnings(workspace_id: UUID, campaigns: Sequence[Campaign]) -> dict[UUID, list[str]]:
    """Return, by campaign, which steps of the draft send marketing e-mails without an unsubscribe link.

    One statement for any number of campaigns.
    """
    steps = {campaign.pk: list(_marketing_steps(campaign.draft)) for campaign in campaigns}
    wanted = {template_id for of_campaign in steps.values() for _, template_id in of_campaign}
    unlinked = Template.objects.in_workspace(workspace_id).filter(id__in=wanted, channel=Channel.EMAIL)
    seen: Combinable = F("body")
    for pattern in _UNSEEN:
        seen = Func(
            seen, Value(pattern), Value(""), Value("g"), function="regexp_replace", output_field=TextField()
        )
    unlinked = unlinked.annotate(seen=seen).exclude(seen__regex=_LINKED)
    names = dict(unlinked.values_list("id", "name")) if wanted else {}
    return {
        campaign_id: [
            f"workflow.nodes[{place}]: {names[template_id]}: {_NO_LINK}"
            for place, template_id in of_campaign
            if template_id in names
        ]
        for campaign_id, of_campaign in steps.items()
    }


def rule_warnings(campaign: Campaign) -> list[str]:
    """Return warnings about names in the draft's rules that were never seen, or have other types."""
    try:
        definition = parse_definition(campaign.draft, require_complete=False)
    except InvalidDefinition as error:
        return [f"This definition cannot be read any more: {error.sentence}"]
    rules: dict[str, list[Rule]] = defaultdict(list)
    for name, rule in _rules_of(definition):
        rules[name].append(rule)
    found = (
        find_rule_warnings(campaign.workspace_id, *rules_of_event, about=name)
        for name, rules_of_event in sorted(rules.items())
    )
    return list(dict.fromkeys(warning for warnings in found for warning in warnings))


def _rules_of(definition: Definition) -> Iterator[tuple[str, Rule]]:
    """Yield a definition's rules, each with the name of the event that it is about, or an empty one."""
    matches: list[EventTrigger | EventMatch] = [
        item for item in definition.triggers if isinstance(item, EventTrigger)
    ]
    matches += definition.event_exits
    if definition.goal is not None:
        matches.append(definition.goal.match)
    names = {item.event_name for item in definition.triggers if isinstance(item, EventTrigger)}
    # A branch may read the triggering event if only one name can be it.
    about = names.pop() if len(names) == 1 else ""
    for node in definition.nodes.values():
        match node.step:
            case WaitForEventStep():
                matches.append(node.step.match)
            case BranchStep():
                yield from ((about, rule) for _, rule in node.step.branches)
    yield from ((item.event_name, item.rule) for item in matches)
    yield from (("", rule) for rule in definition.state_exits)


def _parts_without_link(template: Template) -> list[str]:
    if template.channel != Channel.EMAIL:
        return []
    parts = {"body": template.body, **({"text": template.text} if template.text else {})}
    return [name for name, source in parts.items() if not _is_linked(source)]


def _is_linked(source: str) -> bool:
    for pattern in _UNSEEN:
        source = re.sub(pattern, "", source, flags=re.DOTALL)
    return re.search(_LINKED, source) is not None


def _marketing_steps(draft: Any) -> Iterator[tuple[int, UUID]]:
    """Yield the index and the template of each step that sends a marketing message."""
    workflow = draft.get("workflow") if isinstance(draft, Mapping) else None
    nodes = workflow.get("nodes") if isinstance(workflow, Mapping) else None
    for place, node in enumerate(nodes if isinstance(nodes, list) else ()):
        data = node.get("data") if isinstance(node, Mapping) and node.get("type") == "send" else None
        if isinstance(data, Mapping) and data.get("transactional") is not True:
            template_id = parse_uuid(str(data.get("templateId")))
            if template_id is not None:
                yield place, template_id


def _only_transactional(workspace_id: UUID) -> set[UUID]:
    """Return the templates that steps and forms send as transactional messages only."""
    with connection.cursor() as cursor:
        cursor.execute(_SENT, [workspace_id, workspace_id])
        sent = {
            template_id: transactional for text, transactional in cursor if (template_id := parse_uuid(text))
        }
    confirming = Form.objects.in_workspace(workspace_id).filter(confirmation_template__isnull=False)
    of_forms = set(confirming.values_list("confirmation_template_id", flat=True))
    return {item for item in {*sent, *of_forms} if sent.get(item, True)}


_SENT: Final = f"""
SELECT node -> 'data' ->> 'templateId', bool_and(coalesce(node -> 'data' -> 'transactional' = 'true', false))
FROM (
    SELECT draft AS definition FROM {Campaign._meta.db_table} WHERE workspace_id = %s
    UNION ALL
    SELECT definition FROM {CampaignVersion._meta.db_table} WHERE workspace_id = %s AND retired_at IS NULL
) AS source, jsonb_path_query(source.definition, 'lax $.workflow.nodes[*] ? (@.type == "send")') AS node
WHERE node -> 'data' ->> 'templateId' IS NOT NULL
GROUP BY 1
"""
