"""Parse a campaign's definition: JSON → Definition, or InvalidDefinition with the path of the fault."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from campaigns.errors import InvalidDefinition
from campaigns.journeys.definition.steps import MAX_EXITS, SendStep
from campaigns.journeys.definition.triggers import (
    EventTrigger,
    Goal,
    Reentry,
    Trigger,
    parse_exit,
    parse_goal,
    parse_reentry,
    parse_trigger,
)
from campaigns.journeys.definition.values import EventMatch, RuleContext
from campaigns.journeys.definition.workflow import Node, parse_workflow
from config.values.json_values import JsonValue
from events.errors import InvalidCondition
from events.rules import Rule
from events.rules.parser import DeclaredTypes, validate_storable

MAX_TRIGGERS = 20
_KEYS = {"triggers", "reentry", "workflow", "goal", "exits", "includesHistory"}


@dataclass(frozen=True, slots=True)
class Definition:
    """A parsed definition: who enters a campaign, what happens to them, and how it ends."""

    triggers: tuple[Trigger, ...]
    reentry: Reentry
    nodes: Mapping[str, Node]
    # None in an incomplete draft.
    start: str | None
    goal: Goal | None
    event_exits: tuple[EventMatch, ...]
    state_exits: tuple[Rule, ...]
    includes_history: bool

    @property
    def template_ids(self) -> frozenset[UUID]:
        """Return the ids of the templates that its steps send."""
        return frozenset(
            node.step.template_id for node in self.nodes.values() if isinstance(node.step, SendStep)
        )


def parse_definition(
    raw: object, *, require_complete: bool = True, types: DeclaredTypes | None = None
) -> Definition:
    """Parse a definition. Raises InvalidDefinition with the path of the fault.

    Without `require_complete`, for drafts, parts may be missing, but none may be invalid.
    """
    try:
        validate_storable(raw)
        body = JsonValue(raw, "", InvalidDefinition)
        return _parse(body, RuleContext(types or DeclaredTypes()), require_complete=require_complete)
    except InvalidCondition as error:
        raise InvalidDefinition(error.path, error.message) from error


def _parse(body: JsonValue, context: RuleContext, *, require_complete: bool) -> Definition:
    body.as_object(_KEYS)
    parsed = [parse_trigger(item, context) for item in body.get("triggers").items(MAX_TRIGGERS)]
    # Derived triggers come last: keys of date timers have the place of their trigger in the list.
    triggers = (*(first for first, *_ in parsed), *(trigger for _, *rest in parsed for trigger in rest))
    if require_complete and not triggers:
        body.get("triggers").fail("At least one trigger is needed.")
    names = {trigger.event_name for trigger in triggers if isinstance(trigger, EventTrigger)}
    # Rules may read any of the triggering events: a property that one of them lacks is missing there.
    context.trigger_event = " or ".join(sorted(names)) or "-"
    nodes, start = parse_workflow(body.get("workflow"), context, require_complete=require_complete)
    exits = [parse_exit(item, context) for item in body.get("exits").items(MAX_EXITS)]
    return Definition(
        triggers=triggers,
        reentry=parse_reentry(body.get("reentry")),
        nodes=nodes,
        start=start,
        goal=parse_goal(body.get("goal"), context),
        event_exits=tuple(item for item in exits if isinstance(item, EventMatch)),
        state_exits=tuple(item for item in exits if isinstance(item, Rule)),
        includes_history=body.get("includesHistory", False).flag(),
    )
