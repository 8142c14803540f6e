"""What a campaign does: JSON → Definition, or the path of what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any, Final, Literal, cast
from uuid import UUID

from campaigns.errors import InvalidDefinition
from campaigns.messaging.channels import RESERVED_HEADERS
from config.ids import parse_uuid
from config.values.endpoints import MAX_URL, canonical_url
from config.values.names import composed
from events.errors import InvalidCondition
from events.models import Event
from events.rules import Rule, parse_rule, scopes_required_by_event, scopes_required_by_rule
from events.rules.conditions import field_error, path_of
from events.rules.durations import parse_duration, parse_moment
from events.rules.nodes import PropertyLeaf
from events.rules.parser import DeclaredTypes, referenced_segment_ids, validate_storable
from events.rules.warnings import SYSTEM_PREFIXES

MAX_NODES = 200
MAX_TRIGGERS = 20
MAX_EXITS = 20
MAX_TEXT = 255
MAX_ID = 64
MAX_REASON = 40
CHANNELS = ("email", "webhook", "telegram")
METHODS = ("POST", "PUT", "PATCH")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
_TIME_OF_DAY = re.compile(r"\d\d:\d\d", re.ASCII)
_LIQUID = re.compile(r"\{[{%]")
NEXT, ELSE, EVENT, TIMEOUT, HOLDOUT = "", "else", "event", "timeout", "holdout"
"""Handles: where an edge leaves a node. Most nodes have one way on, which has no name."""
TOTAL_PERCENT = 100
"""What the weights of a split come to together with its hold-out."""
SYSTEM_EVENTS = frozenset(
    {
        "contact.created",
        "contact.updated",
        "contact.tagged",
        "contact.subscribed",
        "contact.unsubscribed",
        "contact.merged",
        "contact.unmerged",
        "segment.entered",
        "segment.exited",
        "message.sent",
        "message.bounced",
        "message.complained",
        "message.open",
        "message.click",
        "form.submitted",
        "telegram.message_received",
        "telegram.chat_changed",
    }
)
"""What the system tells of: whatever else comes under such a name, from a client or an import, is not believed."""


def is_trusted(event_name: str, source: str) -> bool:
    """Whether campaigns may act on an event that came from there."""
    return event_name not in SYSTEM_EVENTS or source == Event.Source.SYSTEM


# Triggers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Events of a name of which a rule holds.

    `relevance_rule`: the trigger is about those alone of which this holds, of one tag, say; None: about all of the name.
    """

    event_name: str
    rule: Rule
    relevance_rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class DateTrigger:
    """A moment that lies `offset` from a date of the contact; `at`: the time of day in the contact's zone."""

    attribute: str
    offset: timedelta
    at: time | None
    is_yearly: bool


@dataclass(frozen=True, slots=True)
class ScheduleTrigger:
    """All who are in a segment at a moment, None: at once."""

    segment_id: UUID
    at: datetime | None


@dataclass(frozen=True, slots=True)
class ManualTrigger:
    """Somebody's wish."""


Trigger = EventTrigger | DateTrigger | ScheduleTrigger | ManualTrigger


@dataclass(frozen=True, slots=True)
class Reentry:
    """Whether a contact may come in again; `days` of `interval`, `path` of `key`, where the key is in the event."""

    mode: Literal["once", "afterwards", "every", "interval", "key"] = "afterwards"
    days: int = 0
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventMatch:
    """Events of a name of which a rule holds."""

    event_name: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class Goal:
    """The event for which it is all done, if it comes within so long of the run's start."""

    match: EventMatch
    within: timedelta


# Steps -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartStep:
    """Where enrollments begin, if the graph says so."""


@dataclass(frozen=True, slots=True)
class SendStep:
    channel: str
    template_id: UUID
    is_transactional: bool = False
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class WaitStep:
    duration: timedelta


@dataclass(frozen=True, slots=True)
class WaitUntilDateStep:
    """Until `offset` from a date of the contact, at a time of its day if one is given."""

    attribute: str
    offset: timedelta
    at: time | None = None


@dataclass(frozen=True, slots=True)
class WaitUntilTimeOfDayStep:
    """Until it is this time of day where the contact lives."""

    at: time


@dataclass(frozen=True, slots=True)
class WaitForEventStep:
    """Until an event; one whose value at `path` is that of the run's event at `trigger_path`, if these are given."""

    match: EventMatch
    timeout: timedelta
    path: tuple[str, ...] = ()
    trigger_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BranchStep:
    """The first branch whose rule holds, `else` if none does."""

    branches: tuple[tuple[str, Rule], ...]


@dataclass(frozen=True, slots=True)
class SplitStep:
    """Arms by chance, each with its weight in percent; what is left of a hundred is held out."""

    arms: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class UpdateContactStep:
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TagStep:
    add: tuple[str, ...]
    remove: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordEventStep:
    event_name: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallWebhookStep:
    url: str
    method: str
    body: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ExitStep:
    reason: str


Step = (
    StartStep
    | SendStep
    | WaitStep
    | WaitUntilDateStep
    | WaitUntilTimeOfDayStep
    | WaitForEventStep
    | BranchStep
    | SplitStep
    | UpdateContactStep
    | TagStep
    | RecordEventStep
    | CallWebhookStep
    | ExitStep
)


@dataclass(frozen=True, slots=True)
class Node:
    """A step and where it leads; a handle that leads nowhere ends the enrollment."""

    id: str
    step: Step
    next: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Definition:
    """All that a campaign does, as it was checked when it was saved."""

    triggers: tuple[Trigger, ...]
    reentry: Reentry
    nodes: Mapping[str, Node]
    # Of a draft, None where it is not known yet.
    start: str | None
    goal: Goal | None
    event_exits: tuple[EventMatch, ...]
    state_exits: tuple[Rule, ...]
    includes_history: bool

    @property
    def template_ids(self) -> frozenset[UUID]:
        """The templates that its steps send."""
        return frozenset(
            node.step.template_id for node in self.nodes.values() if isinstance(node.step, SendStep)
        )


def parse_definition(
    raw: object, *, require_complete: bool = True, types: DeclaredTypes | None = None
) -> Definition:
    """Read a definition. Raises InvalidDefinition with the path of the fault.

    Not `whole`, of a draft: something may still be missing, but nothing may be wrong.
    """
    reader = _DefinitionParser(types or DeclaredTypes(), require_complete)
    try:
        validate_storable(raw)
        return reader.definition(raw)
    except InvalidCondition as error:
        raise InvalidDefinition(error.path, error.message) from error


def referenced_segments(raw: Mapping[str, Any]) -> Iterator[tuple[str, UUID]]:
    """Yield the segments that a valid definition speaks of, each with the path of its id."""
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
    """Return the scopes that who has it done needs: those of doing each step, and of reading what rules ask about.

    Of what is no definition, as far as it is one.
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
    """Return the scopes that the rules and the segments of a definition, wherever they stand, ask for."""
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


# What they wait for is a value or a tag of the contact.
_CONTACT_TRIGGERS: Final = ("ATTRIBUTE_CHANGED", "TAG_ADDED", "TAG_REMOVED", "DATE")
_STEP_SCOPES: Final = {
    "send": "messages:write",
    "update": "contacts:write",
    "tag": "contacts:write",
    "record": "events:write",
    # What is known of the contact leaves.
    "webhook": "messages:write contacts:read events:read",
}


class _DefinitionParser:
    def __init__(self, types: DeclaredTypes, require_complete: bool) -> None:
        self.types = types
        self.require_complete = require_complete
        # The name of the event that triggers, if it can be one only: branches may ask about its fields then.
        self.about_event: str | None = None
        # A contact that comes with a value has changed from nothing: what its creation triggers besides.
        self.creation_triggers: list[EventTrigger] = []

    def definition(self, raw: object) -> Definition:
        body = _object(raw, "")
        known = {"triggers", "reentry", "workflow", "goal", "exits", "includesHistory"}
        _reject_unknown_keys(body, known, "")
        listed = [
            self.trigger(item, path) for item, path in _items(body.get("triggers"), "triggers", MAX_TRIGGERS)
        ]
        # These last: the timetable knows dates by their place in the list.
        triggers = (*listed, *self.creation_triggers)
        if self.require_complete and not triggers:
            raise InvalidDefinition("triggers", "At least one trigger is needed.")
        names = {item.event_name for item in triggers if isinstance(item, EventTrigger)}
        # With several, what one's events lack is missing, and fulfils nothing.
        self.about_event = " or ".join(sorted(names)) or "-"
        nodes, start = self.workflow(body.get("workflow"))
        exits = [self.exit_rule(item, path) for item, path in _items(body.get("exits"), "exits", MAX_EXITS)]
        return Definition(
            triggers=triggers,
            reentry=self.reentry(body.get("reentry")),
            nodes=nodes,
            start=start,
            goal=self.goal(body.get("goal")),
            event_exits=tuple(item for item in exits if isinstance(item, EventMatch)),
            state_exits=tuple(item for item in exits if isinstance(item, Rule)),
            includes_history=_flag(body, "includesHistory", "includesHistory"),
        )

    def trigger(self, raw: object, path: str) -> Trigger:
        body = _object(raw, path)
        kind = body.get("type")
        if not isinstance(kind, str) or kind not in _TRIGGERS:
            raise InvalidDefinition(f"{path}.type", f"The type must be one of {', '.join(_TRIGGERS)}.")
        read, keys = _TRIGGERS[kind]
        _reject_unknown_keys(body, keys | {"type"}, path)
        return read(self, body, path)

    def event_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        match = self.event_match(body, path)
        return EventTrigger(match.event_name, match.rule)

    def segment_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        segment_id = _uuid(body, "segmentId", path)
        name = "segment.entered" if body["type"] == "SEGMENT_ENTER" else "segment.exited"
        return self._contact_change_trigger(
            name, _property_condition("properties.segmentId", "eq", str(segment_id))
        )

    def created_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        return EventTrigger("contact.created", parse_rule(None, about_event="contact.created"))

    def attribute_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        name = _contact_field(body.get("field"), f"{path}.field")
        column = _CONTACT_COLUMNS.get(name, name)
        condition = body.get("condition")
        if condition is not None:
            self._rule(condition, f"{path}.condition", "contact.updated")
        new, old = (_property_condition(f"properties.{side}.{column}", "exists") for side in ("new", "old"))
        changed = {"operator": "OR", "conditions": [new, old]}
        self.creation_triggers.append(self._contact_change_trigger("contact.created", new, condition))
        return self._contact_change_trigger("contact.updated", changed, condition)

    def tag_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        tag = _text(body.get("tag"), f"{path}.tag")
        if body["type"] == "TAG_ADDED":
            return self._contact_change_trigger(
                "contact.tagged", _property_condition("properties.new.tags", "contains", tag)
            )
        return self._contact_change_trigger(
            "contact.updated", _property_condition("properties.old.tags", "contains", tag)
        )

    def _contact_change_trigger(
        self, name: str, own: dict[str, Any], condition: object = None
    ) -> EventTrigger:
        own_rule = parse_rule(own, about_event=name)
        rule = own_rule if condition is None else parse_rule(_and_condition(own, condition), about_event=name)
        return EventTrigger(name, rule, own_rule)

    def date_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        repeats = body.get("repeats", "never")
        if repeats not in ("yearly", "never"):
            raise InvalidDefinition(f"{path}.repeats", "Must be yearly or never.")
        return DateTrigger(
            _attribute(body.get("field"), f"{path}.field"),
            _offset(body.get("offset"), f"{path}.offset"),
            _time_of_day(body.get("at"), f"{path}.at"),
            repeats == "yearly",
        )

    def schedule_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        at = body.get("at")
        moment = None if at is None else parse_moment(at)
        if at is not None and not isinstance(moment, datetime):
            raise InvalidDefinition(f"{path}.at", "Must be a date or a date-time.")
        return ScheduleTrigger(_uuid(body, "segmentId", path), cast(datetime | None, moment))

    def manual_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        return ManualTrigger()

    def reentry(self, raw: object) -> Reentry:
        if raw is None:
            return Reentry()
        body = _object(raw, "reentry")
        mode = body.get("mode", "afterwards")
        if mode not in tuple(_REENTRY):
            raise InvalidDefinition("reentry.mode", f"The mode must be one of {', '.join(_REENTRY)}.")
        _reject_unknown_keys(body, {"mode", *_REENTRY[mode]}, "reentry")
        days = body.get("days", 0)
        is_number = isinstance(days, int) and not isinstance(days, bool)
        if mode == "interval" and not (is_number and 1 <= days <= 3650):
            raise InvalidDefinition("reentry.days", "Must be a number of days from 1 to 3650.")
        path = _event_path(body.get("property"), "reentry.property") if mode == "key" else ()
        return Reentry(mode, days, path)

    def goal(self, raw: object) -> Goal | None:
        if raw is None:
            return None
        body = _object(raw, "goal")
        _reject_unknown_keys(body, {"eventType", "condition", "within"}, "goal")
        return Goal(self.event_match(body, "goal"), _duration(body.get("within"), "goal.within"))

    def exit_rule(self, raw: object, path: str) -> EventMatch | Rule:
        body = _object(raw, path)
        _reject_unknown_keys(body, {"eventType", "condition"}, path)
        if "eventType" in body:
            return self.event_match(body, path)
        return self._rule(body.get("condition"), f"{path}.condition", None)

    def event_match(self, body: Mapping[str, Any], path: str) -> EventMatch:
        name = _text(body.get("eventType"), f"{path}.eventType")
        return EventMatch(name, self._rule(body.get("condition"), f"{path}.condition", name))

    def _rule(self, raw: object, path: str, about_event: str | None) -> Rule:
        try:
            return parse_rule(raw, about_event=about_event, types=self.types)
        except InvalidCondition as error:
            at = f"{path}.{error.path}" if error.path else path
            raise InvalidDefinition(at, error.message) from error

    # Nodes and edges

    def workflow(self, raw: object) -> tuple[dict[str, Node], str | None]:
        if raw is None and not self.require_complete:
            return {}, None
        body = _object(raw, "workflow")
        _reject_unknown_keys(body, {"nodes", "edges"}, "workflow")
        steps = dict(self._steps(body.get("nodes")))
        edges = self._edges(body.get("edges"), steps)
        nodes = {id_: Node(id_, step, edges.get(id_, {})) for id_, step in steps.items()}
        _reject_cycles(nodes)
        return nodes, self._start(nodes)

    def _steps(self, raw: object) -> Iterator[tuple[str, Step]]:
        seen: set[str] = set()
        for item, path in _items(raw, "workflow.nodes", MAX_NODES):
            body = _object(item, path)
            _reject_unknown_keys(body, {"id", "type", "data", "position"}, path)
            id_ = body.get("id")
            if not isinstance(id_, str) or not 0 < len(id_) <= MAX_ID or id_ in seen or ":" in id_:
                raise InvalidDefinition(
                    f"{path}.id",
                    f"The id must be a text of its own, up to {MAX_ID} characters, with no colon.",
                )
            seen.add(id_)
            yield id_, self._step(body, path)

    def _step(self, body: Mapping[str, Any], path: str) -> Step:
        kind = body.get("type")
        if not isinstance(kind, str) or kind not in _STEPS:
            raise InvalidDefinition(f"{path}.type", f"The type must be one of {', '.join(_STEPS)}.")
        read, keys = _STEPS[kind]
        data = _object(body.get("data", {}), f"{path}.data")
        _reject_unknown_keys(data, keys, f"{path}.data")
        return read(self, data, f"{path}.data")

    def start_step(self, data: Mapping[str, Any], path: str) -> Step:
        return StartStep()

    def send(self, data: Mapping[str, Any], path: str) -> Step:
        channel = data.get("channel", "email")
        # The wire spells channels in capitals elsewhere.
        channel = channel.lower() if isinstance(channel, str) else channel
        if channel not in CHANNELS:
            raise InvalidDefinition(f"{path}.channel", f"The channel must be one of {', '.join(CHANNELS)}.")
        return SendStep(
            channel,
            _uuid(data, "templateId", path),
            _flag(data, "transactional", f"{path}.transactional"),
            _priority_number(data.get("priority"), f"{path}.priority"),
        )

    def wait(self, data: Mapping[str, Any], path: str) -> Step:
        kinds = [key for key in ("duration", "until", "timeOfDay") if data.get(key) is not None]
        if len(kinds) != 1:
            raise InvalidDefinition(path, "One of duration, until and timeOfDay is needed.")
        if kinds == ["duration"]:
            return WaitStep(_duration(data["duration"], f"{path}.duration"))
        if kinds == ["timeOfDay"]:
            return WaitUntilTimeOfDayStep(cast(time, _time_of_day(data["timeOfDay"], f"{path}.timeOfDay")))
        until = _object(data["until"], f"{path}.until")
        _reject_unknown_keys(until, {"field", "offset", "at"}, f"{path}.until")
        return WaitUntilDateStep(
            _attribute(until.get("field"), f"{path}.until.field"),
            _offset(until.get("offset"), f"{path}.until.offset"),
            _time_of_day(until.get("at"), f"{path}.until.at"),
        )

    def wait_for_event(self, data: Mapping[str, Any], path: str) -> Step:
        match = self.event_match(data, path)
        timeout = _duration(data.get("timeout"), f"{path}.timeout")
        if data.get("match") is None:
            return WaitForEventStep(match, timeout)
        at = f"{path}.match"
        body = _object(data["match"], at)
        _reject_unknown_keys(body, {"property", "trigger"}, at)
        own = _event_path(body.get("property"), f"{at}.property")
        trigger = body.get("trigger")
        return WaitForEventStep(
            match, timeout, own, own if trigger is None else _event_path(trigger, f"{at}.trigger")
        )

    def branch(self, data: Mapping[str, Any], path: str) -> Step:
        branches: list[tuple[str, Rule]] = []
        for item, at in _items(data.get("branches"), f"{path}.branches", MAX_EXITS):
            body = _object(item, at)
            _reject_unknown_keys(body, {"handle", "condition", "label"}, at)
            handle = _handle(body, at, {ELSE, *(name for name, _ in branches)})
            condition = body.get("condition")
            if condition is None:
                raise InvalidDefinition(f"{at}.condition", "A rule is needed.")
            branches.append((handle, self._rule(condition, f"{at}.condition", self.about_event)))
        if not branches:
            raise InvalidDefinition(f"{path}.branches", "At least one branch is needed.")
        return BranchStep(tuple(branches))

    def split(self, data: Mapping[str, Any], path: str) -> Step:
        arms: list[tuple[str, float]] = []
        for item, at in _items(data.get("arms"), f"{path}.arms", MAX_EXITS):
            body = _object(item, at)
            _reject_unknown_keys(body, {"handle", "weight", "label"}, at)
            handle = _handle(body, at, {HOLDOUT, *(name for name, _ in arms)})
            weight = body.get("weight")
            if (
                isinstance(weight, bool)
                or not isinstance(weight, int | float)
                or not 0 < weight <= TOTAL_PERCENT
            ):
                raise InvalidDefinition(f"{at}.weight", f"Must be a number above 0, up to {TOTAL_PERCENT}.")
            arms.append((handle, weight))
        if not arms:
            raise InvalidDefinition(f"{path}.arms", "At least one arm is needed.")
        if sum(weight for _, weight in arms) > TOTAL_PERCENT + 1e-9:
            raise InvalidDefinition(f"{path}.arms", f"The weights come to more than {TOTAL_PERCENT}.")
        return SplitStep(tuple(arms))

    def update(self, data: Mapping[str, Any], path: str) -> Step:
        attributes = _object(data.get("attributes"), f"{path}.attributes")
        if not attributes:
            raise InvalidDefinition(f"{path}.attributes", "At least one attribute is needed.")
        if not all(0 < len(name.strip()) <= len(name) <= MAX_TEXT for name in attributes):
            raise InvalidDefinition(f"{path}.attributes", f"A name has 1 to {MAX_TEXT} characters.")
        return UpdateContactStep(attributes)

    def tag(self, data: Mapping[str, Any], path: str) -> Step:
        add, remove = (
            tuple(_text(item, at) for item, at in _items(data.get(key), f"{path}.{key}", MAX_EXITS))
            for key in ("add", "remove")
        )
        if not add and not remove:
            raise InvalidDefinition(path, "At least one tag is needed.")
        return TagStep(add, remove)

    def record(self, data: Mapping[str, Any], path: str) -> Step:
        name = _text(data.get("eventType"), f"{path}.eventType")
        if name.startswith(SYSTEM_PREFIXES):
            raise InvalidDefinition(f"{path}.eventType", "Only the system itself tells of such an event.")
        return RecordEventStep(name, _object(data.get("properties", {}), f"{path}.properties"))

    def webhook(self, data: Mapping[str, Any], path: str) -> Step:
        url, method, body = data.get("url"), data.get("method", "POST"), data.get("body", "")
        if not isinstance(url, str) or not _is_address(url):
            raise InvalidDefinition(f"{path}.url", "Must be an http or https address.")
        if method not in METHODS:
            raise InvalidDefinition(f"{path}.method", f"The method must be one of {', '.join(METHODS)}.")
        if not isinstance(body, str):
            raise InvalidDefinition(f"{path}.body", "Must be a text: a template of JSON.")
        headers = _object(data.get("headers") or {}, f"{path}.headers")
        for name, value in headers.items():
            if not _HEADER.fullmatch(name) or name.lower().startswith(RESERVED_HEADERS):
                raise InvalidDefinition(f"{path}.headers.{name}", "This header cannot be set.")
            if not isinstance(value, str) or not value.isprintable():
                raise InvalidDefinition(f"{path}.headers.{name}", "Must be a text of one line.")
        return CallWebhookStep(url, method, body, headers)

    def exit(self, data: Mapping[str, Any], path: str) -> Step:
        reason = data.get("reason")
        if reason is None or reason == "":
            return ExitStep("")
        if not isinstance(reason, str) or len(reason) > MAX_REASON:
            raise InvalidDefinition(f"{path}.reason", f"Must be a text of up to {MAX_REASON} characters.")
        return ExitStep(reason)

    def _edges(self, raw: object, steps: Mapping[str, Step]) -> dict[str, dict[str, str]]:
        ways: dict[str, dict[str, str]] = {}
        for item, path in _items(raw, "workflow.edges", MAX_NODES * 4):
            body = _object(item, path)
            # An editor numbers and labels its edges.
            _reject_unknown_keys(body, {"id", "label", "source", "target", "sourceHandle"}, path)
            for key in ("source", "target"):
                if not isinstance(body.get(key), str) or body[key] not in steps:
                    raise InvalidDefinition(f"{path}.{key}", "There is no such node.")
            source, handle = body["source"], body.get("sourceHandle") or NEXT
            if not isinstance(handle, str) or handle not in step_handles(steps[source]):
                raise InvalidDefinition(f"{path}.sourceHandle", "The node has no such handle.")
            if handle in ways.setdefault(source, {}):
                raise InvalidDefinition(path, "Another edge leaves the node there.")
            ways[source][handle] = body["target"]
        return ways

    def _start(self, nodes: Mapping[str, Node]) -> str | None:
        targets = {target for node in nodes.values() for target in node.next.values()}
        marked = [node.id for node in nodes.values() if isinstance(node.step, StartStep)]
        beginnings = marked or [id_ for id_ in nodes if id_ not in targets]
        if len(beginnings) == 1:
            start = beginnings[0]
            if start in targets:
                raise InvalidDefinition("workflow.edges", "No edge may lead to where runs begin.")
            if self.require_complete and (lost := sorted(nodes.keys() - _reachable_nodes(nodes, start))):
                raise InvalidDefinition("workflow.nodes", f"No way leads to {', '.join(lost)}.")
            return start
        if self.require_complete or len(marked) > 1:
            raise InvalidDefinition("workflow.nodes", "There must be one node at which runs begin.")
        return None


def step_handles(step: Step) -> frozenset[str]:
    """Return where edges may leave a step."""
    match step:
        case WaitForEventStep():
            return frozenset({EVENT, TIMEOUT})
        case BranchStep(branches):
            return frozenset({ELSE, *(handle for handle, _ in branches)})
        case SplitStep(arms):
            return frozenset({HOLDOUT, *(handle for handle, _ in arms)})
        case ExitStep():
            return frozenset()
        case _:
            return frozenset({NEXT})


def uses_event(rule: Rule) -> bool:
    """Tell whether a rule asks about the event that triggered."""
    return any(isinstance(leaf, PropertyLeaf) for leaf in rule.root.leaves())


_TRIGGERS: dict[str, tuple[Callable[[_DefinitionParser, Mapping[str, Any], str], Trigger], set[str]]] = {
    "EVENT": (_DefinitionParser.event_trigger, {"eventType", "condition"}),
    "SEGMENT_ENTER": (_DefinitionParser.segment_trigger, {"segmentId"}),
    "SEGMENT_EXIT": (_DefinitionParser.segment_trigger, {"segmentId"}),
    "CONTACT_CREATED": (_DefinitionParser.created_trigger, set()),
    "ATTRIBUTE_CHANGED": (_DefinitionParser.attribute_trigger, {"field", "condition"}),
    "TAG_ADDED": (_DefinitionParser.tag_trigger, {"tag"}),
    "TAG_REMOVED": (_DefinitionParser.tag_trigger, {"tag"}),
    "DATE": (_DefinitionParser.date_trigger, {"field", "offset", "at", "repeats"}),
    "MANUAL": (_DefinitionParser.manual_trigger, set()),
    "SCHEDULE": (_DefinitionParser.schedule_trigger, {"segmentId", "at"}),
}
_STEPS: dict[str, tuple[Callable[[_DefinitionParser, Mapping[str, Any], str], Step], set[str]]] = {
    "trigger": (_DefinitionParser.start_step, set()),
    "send": (_DefinitionParser.send, {"channel", "templateId", "transactional", "priority"}),
    "wait": (_DefinitionParser.wait, {"duration", "until", "timeOfDay"}),
    "waitForEvent": (_DefinitionParser.wait_for_event, {"eventType", "condition", "match", "timeout"}),
    "branch": (_DefinitionParser.branch, {"branches"}),
    "split": (_DefinitionParser.split, {"arms"}),
    "update": (_DefinitionParser.update, {"attributes"}),
    "tag": (_DefinitionParser.tag, {"add", "remove"}),
    "record": (_DefinitionParser.record, {"eventType", "properties"}),
    "webhook": (_DefinitionParser.webhook, {"url", "method", "body", "headers"}),
    "exit": (_DefinitionParser.exit, {"reason"}),
}
_REENTRY: dict[str, set[str]] = {
    "once": set(),
    "afterwards": set(),
    "every": set(),
    "interval": {"days"},
    "key": {"property"},
}
# As a contact.updated event spells them.
_CONTACT_COLUMNS = {
    "firstName": "first_name",
    "lastName": "last_name",
    "externalId": "external_id",
    "email": "email",
    "phone": "phone",
}


def _reject_cycles(nodes: Mapping[str, Node]) -> None:
    done: set[str] = set()
    for start in nodes:
        way: list[str] = []
        waiting: list[tuple[str, bool]] = [(start, False)]
        while waiting:
            at, is_left = waiting.pop()
            if is_left:
                done.add(way.pop())
            elif at in way:
                circle = " → ".join([*way[way.index(at) :], at])
                raise InvalidDefinition("workflow.edges", f"The way leads in a circle: {circle}.")
            elif at not in done:
                way.append(at)
                waiting.append((at, True))
                waiting.extend((target, False) for target in nodes[at].next.values())


def _reachable_nodes(nodes: Mapping[str, Node], start: str) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        new = set(nodes[waiting.pop()].next.values()) - reached
        reached |= new
        waiting.extend(new)
    return reached


def _property_condition(name: str, operator: str, value: object = None) -> dict[str, Any]:
    leaf: dict[str, Any] = {"type": "property", "field": name, "operator": operator}
    return leaf if value is None else {**leaf, "value": value}


def _and_condition(rule: dict[str, Any], condition: object) -> dict[str, Any]:
    return rule if condition is None else {"operator": "AND", "conditions": [rule, condition]}


def _items(raw: object, path: str, most: int) -> Iterator[tuple[object, str]]:
    if raw is None:
        return
    if not isinstance(raw, list):
        raise InvalidDefinition(path, "Must be a list.")
    if len(raw) > most:
        raise InvalidDefinition(path, f"There may be at most {most}.")
    for place, item in enumerate(raw):
        yield item, f"{path}[{place}]"


def _object(raw: object, path: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise InvalidDefinition(path, "Must be an object.")
    return raw


def _reject_unknown_keys(body: Mapping[str, Any], known: set[str], path: str) -> None:
    if unknown := sorted(set(body) - known):
        raise InvalidDefinition(f"{path}.{unknown[0]}" if path else unknown[0], "This key is not known.")


def _text(raw: object, path: str) -> str:
    if not isinstance(raw, str) or not 0 < len(raw.strip()) <= MAX_TEXT or "\x00" in raw:
        raise InvalidDefinition(path, f"Must be a text of 1 to {MAX_TEXT} characters.")
    return composed(raw.strip())


def _uuid(body: Mapping[str, Any], key: str, path: str) -> UUID:
    found = parse_uuid(body.get(key))
    if found is None:
        raise InvalidDefinition(f"{path}.{key}", "An id is needed.")
    return found


def _flag(body: Mapping[str, Any], key: str, path: str) -> bool:
    value = body.get(key, False)
    if not isinstance(value, bool):
        raise InvalidDefinition(path, "Must be true or false.")
    return value


def _priority_number(raw: object, path: str) -> int | None:
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int) or abs(raw) > 1000:
        raise InvalidDefinition(path, "Must be a whole number from -1000 to 1000.")
    return raw


def _handle(body: Mapping[str, Any], path: str, taken: set[str]) -> str:
    handle = body.get("handle")
    if not isinstance(handle, str) or not 0 < len(handle) <= MAX_ID or handle in taken:
        raise InvalidDefinition(f"{path}.handle", "A handle is needed that is no other's.")
    return handle


def _duration(raw: object, path: str) -> timedelta:
    length = parse_duration(raw)
    if length is None or length <= timedelta():
        raise InvalidDefinition(path, 'Must be a duration such as "30m", "12h", "2d" or "4w".')
    return length


def _offset(raw: object, path: str) -> timedelta:
    if raw is None:
        return timedelta()
    length = parse_duration(raw)
    if length is None:
        raise InvalidDefinition(path, 'Must be an offset such as "-3d", "+2h" or "0d".')
    return length


def _time_of_day(raw: object, path: str) -> time | None:
    if raw is None:
        return None
    try:
        if isinstance(raw, str) and _TIME_OF_DAY.fullmatch(raw):
            return time.fromisoformat(raw)
    except ValueError:
        pass
    raise InvalidDefinition(path, 'Must be a time of day such as "09:00".')


def _contact_field(raw: object, path: str) -> str:
    if isinstance(raw, str) and raw in _CONTACT_COLUMNS:
        return raw
    try:
        return f"attributes.{_attribute(raw, path)}"
    except InvalidDefinition:
        known = ", ".join(sorted(_CONTACT_COLUMNS))
        raise InvalidDefinition(path, f'The field must be "attributes.…" or one of {known}.') from None


def _attribute(raw: object, path: str) -> str:
    """Return the name of one of the contact's own attributes, without what it begins with."""
    name = composed(raw.removeprefix("attributes.")) if isinstance(raw, str) else ""
    if not isinstance(raw, str) or not 0 < len(name) < len(raw) <= MAX_TEXT or "." in name:
        raise InvalidDefinition(path, 'The field must be "attributes.…".')
    return name


def _is_address(url: str) -> bool:
    """Tell whether a call can be made to an address; one that Liquid completes is judged when it has."""
    if not _LIQUID.search(url):
        return canonical_url(url) is not None
    return url.startswith(("http://", "https://")) and len(url) <= MAX_URL and url.isprintable()


def _event_path(raw: object, path: str) -> tuple[str, ...]:
    """Return the keys below the event's properties that lead to a value."""
    if not isinstance(raw, str) or len(raw) > MAX_TEXT:
        raise InvalidDefinition(path, f"The name of a property is needed, of up to {MAX_TEXT} characters.")
    name = raw if raw.startswith(("metadata.", "properties.")) else f"properties.{raw}"
    if (fault := field_error(name)) is not None:
        raise InvalidDefinition(path, fault)
    return path_of(name)[1:]
