"""What a campaign does: JSON → Definition, or the path of what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any, Final, Literal, cast
from uuid import UUID

from campaigns.errors import InvalidDefinition
from config.endpoints import MAX_URL, canonical_url
from config.ids import parse_uuid
from config.texts import composed
from events.conditions import fault_of_field, path_of
from events.errors import InvalidCondition
from events.models import Event
from events.rules import Rule, read_rule, scopes_asked_by, scopes_told_by
from events.rules.moments import read_duration, read_moment
from events.rules.nodes import PropertyLeaf
from events.rules.reading import DeclaredTypes, refuse_unstorable, segments_named_in
from events.rules.warnings import SYSTEM_PREFIXES

MAX_NODES = 200
MAX_TRIGGERS = 20
MAX_EXITS = 20
MAX_TEXT = 255
MAX_ID = 64
MAX_REASON = 40
CHANNELS = ("email", "webhook", "telegram")
METHODS = ("POST", "PUT", "PATCH")
OUR_HEADERS = ("webhook-", "host", "content-", "transfer-encoding", "connection")
"""What headers begin with that no campaign sets."""
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
_TIME_OF_DAY = re.compile(r"\d\d:\d\d", re.ASCII)
_LIQUID = re.compile(r"\{[{%]")
NEXT, ELSE, EVENT, TIMEOUT, HOLDOUT = "", "else", "event", "timeout", "holdout"
"""Handles: where an edge leaves a node. Most nodes have one way on, which has no name."""
WHOLE = 100
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


def is_believed(event_name: str, source: str) -> bool:
    """Whether campaigns may act on an event that came from there."""
    return event_name not in SYSTEM_EVENTS or source == Event.Source.SYSTEM


# Triggers ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Events of a name of which a rule holds.

    `own`: the trigger is about those alone of which this holds, of one tag, say; None: about all of the name.
    """

    event_name: str
    rule: Rule
    own: Rule | None = None


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
class Start:
    """Where runs begin, if the graph says so."""


@dataclass(frozen=True, slots=True)
class Send:
    channel: str
    template_id: UUID
    is_transactional: bool = False
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    duration: timedelta


@dataclass(frozen=True, slots=True)
class WaitUntilDate:
    """Until `offset` from a date of the contact, at a time of its day if one is given."""

    attribute: str
    offset: timedelta
    at: time | None = None


@dataclass(frozen=True, slots=True)
class WaitForTime:
    """Until it is this time of day where the contact lives."""

    at: time


@dataclass(frozen=True, slots=True)
class WaitForEvent:
    """Until an event; one whose value at `path` is that of the run's event at `trigger_path`, if these are given."""

    match: EventMatch
    timeout: timedelta
    path: tuple[str, ...] = ()
    trigger_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Branch:
    """The first branch whose rule holds, `else` if none does."""

    branches: tuple[tuple[str, Rule], ...]


@dataclass(frozen=True, slots=True)
class Split:
    """Arms by chance, each with its weight in percent; what is left of a hundred is held out."""

    arms: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Update:
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TagStep:
    add: tuple[str, ...]
    remove: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Record:
    event_name: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallWebhook:
    url: str
    method: str
    body: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Exit:
    reason: str


Step = (
    Start
    | Send
    | Wait
    | WaitUntilDate
    | WaitForTime
    | WaitForEvent
    | Branch
    | Split
    | Update
    | TagStep
    | Record
    | CallWebhook
    | Exit
)


@dataclass(frozen=True, slots=True)
class Node:
    """A step and where it leads; a handle that leads nowhere ends the run."""

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
        return frozenset(node.step.template_id for node in self.nodes.values() if isinstance(node.step, Send))


def read_definition(raw: object, *, whole: bool = True, types: DeclaredTypes | None = None) -> Definition:
    """Read a definition. Raises InvalidDefinition with the path of the fault.

    Not `whole`, of a draft: something may still be missing, but nothing may be wrong.
    """
    reader = _Reader(types or DeclaredTypes(), whole)
    try:
        refuse_unstorable(raw)
        return reader.definition(raw)
    except InvalidCondition as error:
        raise InvalidDefinition(error.path, error.message) from error


def segments_in(raw: Mapping[str, Any]) -> Iterator[tuple[str, UUID]]:
    """Yield the segments that a valid definition speaks of, each with the path of its id."""
    for place, trigger in enumerate(raw.get("triggers") or ()):
        if (target := parse_uuid(trigger.get("segmentId"))) is not None:
            yield f"triggers[{place}].segmentId", target
    for path, rule in _rules_in(raw):
        yield from segments_named_in(rule, path)


def _rules_in(raw: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for place, trigger in enumerate(raw.get("triggers") or ()):
        yield f"triggers[{place}].condition", trigger.get("condition")
    if goal := raw.get("goal"):
        yield "goal.condition", goal.get("condition")
    for place, one in enumerate(raw.get("exits") or ()):
        yield f"exits[{place}].condition", one.get("condition")
    for place, node in enumerate((raw.get("workflow") or {}).get("nodes") or ()):
        at, data = f"workflow.nodes[{place}].data", node.get("data") or {}
        yield f"{at}.condition", data.get("condition")
        for number, branch in enumerate(data.get("branches") or ()):
            yield f"{at}.branches[{number}].condition", branch.get("condition")


def scopes_needed(raw: object) -> set[str]:
    """Return the scopes that who has it done needs: those of doing each step, and of reading what rules ask about.

    Of what is no definition, as far as it is one.
    """
    body = raw if isinstance(raw, Mapping) else {}
    needed: set[str] = set()
    workflow = body.get("workflow")
    nodes = workflow.get("nodes") if isinstance(workflow, Mapping) else None
    for node in nodes if isinstance(nodes, list) else ():
        kind = node.get("type") if isinstance(node, Mapping) else None
        needed.update(_SCOPES_OF_STEPS.get(kind, "").split() if isinstance(kind, str) else ())
    return needed | _scopes_asked_in(body)


def _scopes_asked_in(raw: object) -> set[str]:
    """Return the scopes that the rules and the segments of a definition, wherever they stand, ask for."""
    if isinstance(raw, list):
        return set().union(*map(_scopes_asked_in, raw))
    if not isinstance(raw, Mapping):
        return set()
    found: set[str] = set()
    if raw.get("condition") is not None:
        found |= scopes_asked_by(raw["condition"]) | scopes_told_by(raw.get("eventType"))
    found |= {"contacts:read"} if raw.get("type") in _OF_CONTACTS else set()
    found |= {"segments:read"} if raw.get("segmentId") is not None else set()
    within = (value for name, value in raw.items() if name not in ("condition", "attributes", "properties"))
    return found.union(*map(_scopes_asked_in, within))


# What they wait for is a value or a tag of the contact.
_OF_CONTACTS: Final = ("ATTRIBUTE_CHANGED", "TAG_ADDED", "TAG_REMOVED", "DATE")
_SCOPES_OF_STEPS: Final = {
    "send": "messages:write",
    "update": "contacts:write",
    "tag": "contacts:write",
    "record": "events:write",
    # What is known of the contact leaves.
    "webhook": "messages:write contacts:read events:read",
}


class _Reader:
    def __init__(self, types: DeclaredTypes, whole: bool) -> None:
        self.types = types
        self.whole = whole
        # The name of the event that triggers, if it can be one only: branches may ask about its fields then.
        self.about_event: str | None = None
        # A contact that comes with a value has changed from nothing: what its creation triggers besides.
        self.at_creation: list[EventTrigger] = []

    def definition(self, raw: object) -> Definition:
        body = _object(raw, "")
        known = {"triggers", "reentry", "workflow", "goal", "exits", "includesHistory"}
        _refuse_unknown(body, known, "")
        listed = [
            self.trigger(one, path) for one, path in _items(body.get("triggers"), "triggers", MAX_TRIGGERS)
        ]
        # These last: the timetable knows dates by their place in the list.
        triggers = (*listed, *self.at_creation)
        if self.whole and not triggers:
            raise InvalidDefinition("triggers", "At least one trigger is needed.")
        names = {one.event_name for one in triggers if isinstance(one, EventTrigger)}
        # With several, what one's events lack is missing, and fulfils nothing.
        self.about_event = " or ".join(sorted(names)) or "-"
        nodes, start = self.workflow(body.get("workflow"))
        exits = [self.exit_rule(one, path) for one, path in _items(body.get("exits"), "exits", MAX_EXITS)]
        return Definition(
            triggers=triggers,
            reentry=self.reentry(body.get("reentry")),
            nodes=nodes,
            start=start,
            goal=self.goal(body.get("goal")),
            event_exits=tuple(one for one in exits if isinstance(one, EventMatch)),
            state_exits=tuple(one for one in exits if isinstance(one, Rule)),
            includes_history=_flag(body, "includesHistory", "includesHistory"),
        )

    def trigger(self, raw: object, path: str) -> Trigger:
        body = _object(raw, path)
        kind = body.get("type")
        if not isinstance(kind, str) or kind not in _TRIGGERS:
            raise InvalidDefinition(f"{path}.type", f"The type must be one of {', '.join(_TRIGGERS)}.")
        read, keys = _TRIGGERS[kind]
        _refuse_unknown(body, keys | {"type"}, path)
        return read(self, body, path)

    def event_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        match = self.event_match(body, path)
        return EventTrigger(match.event_name, match.rule)

    def segment_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        segment_id = _uuid(body, "segmentId", path)
        name = "segment.entered" if body["type"] == "SEGMENT_ENTER" else "segment.exited"
        return self._change_trigger(name, _property("properties.segmentId", "eq", str(segment_id)))

    def created_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        return EventTrigger("contact.created", read_rule(None, about_event="contact.created"))

    def attribute_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        name = _contact_field(body.get("field"), f"{path}.field")
        column = _CONTACT_COLUMNS.get(name, name)
        condition = body.get("condition")
        if condition is not None:
            self._rule(condition, f"{path}.condition", "contact.updated")
        new, old = (_property(f"properties.{side}.{column}", "exists") for side in ("new", "old"))
        changed = {"operator": "OR", "conditions": [new, old]}
        self.at_creation.append(self._change_trigger("contact.created", new, condition))
        return self._change_trigger("contact.updated", changed, condition)

    def tag_trigger(self, body: Mapping[str, Any], path: str) -> Trigger:
        tag = _text(body.get("tag"), f"{path}.tag")
        if body["type"] == "TAG_ADDED":
            return self._change_trigger("contact.tagged", _property("properties.new.tags", "contains", tag))
        return self._change_trigger("contact.updated", _property("properties.old.tags", "contains", tag))

    def _change_trigger(self, name: str, own: dict[str, Any], condition: object = None) -> EventTrigger:
        own_rule = read_rule(own, about_event=name)
        rule = own_rule if condition is None else read_rule(_both(own, condition), about_event=name)
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
        moment = None if at is None else read_moment(at)
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
        _refuse_unknown(body, {"mode", *_REENTRY[mode]}, "reentry")
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
        _refuse_unknown(body, {"eventType", "condition", "within"}, "goal")
        return Goal(self.event_match(body, "goal"), _duration(body.get("within"), "goal.within"))

    def exit_rule(self, raw: object, path: str) -> EventMatch | Rule:
        body = _object(raw, path)
        _refuse_unknown(body, {"eventType", "condition"}, path)
        if "eventType" in body:
            return self.event_match(body, path)
        return self._rule(body.get("condition"), f"{path}.condition", None)

    def event_match(self, body: Mapping[str, Any], path: str) -> EventMatch:
        name = _text(body.get("eventType"), f"{path}.eventType")
        return EventMatch(name, self._rule(body.get("condition"), f"{path}.condition", name))

    def _rule(self, raw: object, path: str, about_event: str | None) -> Rule:
        try:
            return read_rule(raw, about_event=about_event, types=self.types)
        except InvalidCondition as error:
            at = f"{path}.{error.path}" if error.path else path
            raise InvalidDefinition(at, error.message) from error

    # Nodes and edges

    def workflow(self, raw: object) -> tuple[dict[str, Node], str | None]:
        if raw is None and not self.whole:
            return {}, None
        body = _object(raw, "workflow")
        _refuse_unknown(body, {"nodes", "edges"}, "workflow")
        steps = dict(self._steps(body.get("nodes")))
        edges = self._edges(body.get("edges"), steps)
        nodes = {id_: Node(id_, step, edges.get(id_, {})) for id_, step in steps.items()}
        _refuse_cycles(nodes)
        return nodes, self._start(nodes)

    def _steps(self, raw: object) -> Iterator[tuple[str, Step]]:
        seen: set[str] = set()
        for one, path in _items(raw, "workflow.nodes", MAX_NODES):
            body = _object(one, path)
            _refuse_unknown(body, {"id", "type", "data", "position"}, path)
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
        _refuse_unknown(data, keys, f"{path}.data")
        return read(self, data, f"{path}.data")

    def start_step(self, data: Mapping[str, Any], path: str) -> Step:
        return Start()

    def send(self, data: Mapping[str, Any], path: str) -> Step:
        channel = data.get("channel", "email")
        # The wire spells channels in capitals elsewhere.
        channel = channel.lower() if isinstance(channel, str) else channel
        if channel not in CHANNELS:
            raise InvalidDefinition(f"{path}.channel", f"The channel must be one of {', '.join(CHANNELS)}.")
        return Send(
            channel,
            _uuid(data, "templateId", path),
            _flag(data, "transactional", f"{path}.transactional"),
            _small(data.get("priority"), f"{path}.priority"),
        )

    def wait(self, data: Mapping[str, Any], path: str) -> Step:
        kinds = [key for key in ("duration", "until", "timeOfDay") if data.get(key) is not None]
        if len(kinds) != 1:
            raise InvalidDefinition(path, "One of duration, until and timeOfDay is needed.")
        if kinds == ["duration"]:
            return Wait(_duration(data["duration"], f"{path}.duration"))
        if kinds == ["timeOfDay"]:
            return WaitForTime(cast(time, _time_of_day(data["timeOfDay"], f"{path}.timeOfDay")))
        until = _object(data["until"], f"{path}.until")
        _refuse_unknown(until, {"field", "offset", "at"}, f"{path}.until")
        return WaitUntilDate(
            _attribute(until.get("field"), f"{path}.until.field"),
            _offset(until.get("offset"), f"{path}.until.offset"),
            _time_of_day(until.get("at"), f"{path}.until.at"),
        )

    def wait_for_event(self, data: Mapping[str, Any], path: str) -> Step:
        match = self.event_match(data, path)
        timeout = _duration(data.get("timeout"), f"{path}.timeout")
        if data.get("match") is None:
            return WaitForEvent(match, timeout)
        at = f"{path}.match"
        body = _object(data["match"], at)
        _refuse_unknown(body, {"property", "trigger"}, at)
        own = _event_path(body.get("property"), f"{at}.property")
        trigger = body.get("trigger")
        return WaitForEvent(
            match, timeout, own, own if trigger is None else _event_path(trigger, f"{at}.trigger")
        )

    def branch(self, data: Mapping[str, Any], path: str) -> Step:
        branches: list[tuple[str, Rule]] = []
        for one, at in _items(data.get("branches"), f"{path}.branches", MAX_EXITS):
            body = _object(one, at)
            _refuse_unknown(body, {"handle", "condition", "label"}, at)
            handle = _handle(body, at, {ELSE, *(name for name, _ in branches)})
            condition = body.get("condition")
            if condition is None:
                raise InvalidDefinition(f"{at}.condition", "A rule is needed.")
            branches.append((handle, self._rule(condition, f"{at}.condition", self.about_event)))
        if not branches:
            raise InvalidDefinition(f"{path}.branches", "At least one branch is needed.")
        return Branch(tuple(branches))

    def split(self, data: Mapping[str, Any], path: str) -> Step:
        arms: list[tuple[str, float]] = []
        for one, at in _items(data.get("arms"), f"{path}.arms", MAX_EXITS):
            body = _object(one, at)
            _refuse_unknown(body, {"handle", "weight", "label"}, at)
            handle = _handle(body, at, {HOLDOUT, *(name for name, _ in arms)})
            weight = body.get("weight")
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= WHOLE:
                raise InvalidDefinition(f"{at}.weight", f"Must be a number above 0, up to {WHOLE}.")
            arms.append((handle, weight))
        if not arms:
            raise InvalidDefinition(f"{path}.arms", "At least one arm is needed.")
        if sum(weight for _, weight in arms) > WHOLE + 1e-9:
            raise InvalidDefinition(f"{path}.arms", f"The weights come to more than {WHOLE}.")
        return Split(tuple(arms))

    def update(self, data: Mapping[str, Any], path: str) -> Step:
        attributes = _object(data.get("attributes"), f"{path}.attributes")
        if not attributes:
            raise InvalidDefinition(f"{path}.attributes", "At least one attribute is needed.")
        if not all(0 < len(name.strip()) <= len(name) <= MAX_TEXT for name in attributes):
            raise InvalidDefinition(f"{path}.attributes", f"A name has 1 to {MAX_TEXT} characters.")
        return Update(attributes)

    def tag(self, data: Mapping[str, Any], path: str) -> Step:
        add, remove = (
            tuple(_text(one, at) for one, at in _items(data.get(key), f"{path}.{key}", MAX_EXITS))
            for key in ("add", "remove")
        )
        if not add and not remove:
            raise InvalidDefinition(path, "At least one tag is needed.")
        return TagStep(add, remove)

    def record(self, data: Mapping[str, Any], path: str) -> Step:
        name = _text(data.get("eventType"), f"{path}.eventType")
        if name.startswith(SYSTEM_PREFIXES):
            raise InvalidDefinition(f"{path}.eventType", "Only the system itself tells of such an event.")
        return Record(name, _object(data.get("properties", {}), f"{path}.properties"))

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
            if not _HEADER.fullmatch(name) or name.lower().startswith(OUR_HEADERS):
                raise InvalidDefinition(f"{path}.headers.{name}", "This header cannot be set.")
            if not isinstance(value, str) or not value.isprintable():
                raise InvalidDefinition(f"{path}.headers.{name}", "Must be a text of one line.")
        return CallWebhook(url, method, body, headers)

    def exit(self, data: Mapping[str, Any], path: str) -> Step:
        reason = data.get("reason")
        if reason is None or reason == "":
            return Exit("")
        if not isinstance(reason, str) or len(reason) > MAX_REASON:
            raise InvalidDefinition(f"{path}.reason", f"Must be a text of up to {MAX_REASON} characters.")
        return Exit(reason)

    def _edges(self, raw: object, steps: Mapping[str, Step]) -> dict[str, dict[str, str]]:
        ways: dict[str, dict[str, str]] = {}
        for one, path in _items(raw, "workflow.edges", MAX_NODES * 4):
            body = _object(one, path)
            # An editor numbers and labels its edges.
            _refuse_unknown(body, {"id", "label", "source", "target", "sourceHandle"}, path)
            for key in ("source", "target"):
                if not isinstance(body.get(key), str) or body[key] not in steps:
                    raise InvalidDefinition(f"{path}.{key}", "There is no such node.")
            source, handle = body["source"], body.get("sourceHandle") or NEXT
            if not isinstance(handle, str) or handle not in handles_of(steps[source]):
                raise InvalidDefinition(f"{path}.sourceHandle", "The node has no such handle.")
            if handle in ways.setdefault(source, {}):
                raise InvalidDefinition(path, "Another edge leaves the node there.")
            ways[source][handle] = body["target"]
        return ways

    def _start(self, nodes: Mapping[str, Node]) -> str | None:
        targets = {target for node in nodes.values() for target in node.next.values()}
        marked = [node.id for node in nodes.values() if isinstance(node.step, Start)]
        beginnings = marked or [id_ for id_ in nodes if id_ not in targets]
        if len(beginnings) == 1:
            start = beginnings[0]
            if start in targets:
                raise InvalidDefinition("workflow.edges", "No edge may lead to where runs begin.")
            if self.whole and (lost := sorted(nodes.keys() - _reached(nodes, start))):
                raise InvalidDefinition("workflow.nodes", f"No way leads to {', '.join(lost)}.")
            return start
        if self.whole or len(marked) > 1:
            raise InvalidDefinition("workflow.nodes", "There must be one node at which runs begin.")
        return None


def handles_of(step: Step) -> frozenset[str]:
    """Return where edges may leave a step."""
    match step:
        case WaitForEvent():
            return frozenset({EVENT, TIMEOUT})
        case Branch(branches):
            return frozenset({ELSE, *(handle for handle, _ in branches)})
        case Split(arms):
            return frozenset({HOLDOUT, *(handle for handle, _ in arms)})
        case Exit():
            return frozenset()
        case _:
            return frozenset({NEXT})


def asks_the_event(rule: Rule) -> bool:
    """Tell whether a rule asks about the event that triggered."""
    return any(isinstance(leaf, PropertyLeaf) for leaf in rule.root.leaves())


_TRIGGERS: dict[str, tuple[Callable[[_Reader, Mapping[str, Any], str], Trigger], set[str]]] = {
    "EVENT": (_Reader.event_trigger, {"eventType", "condition"}),
    "SEGMENT_ENTER": (_Reader.segment_trigger, {"segmentId"}),
    "SEGMENT_EXIT": (_Reader.segment_trigger, {"segmentId"}),
    "CONTACT_CREATED": (_Reader.created_trigger, set()),
    "ATTRIBUTE_CHANGED": (_Reader.attribute_trigger, {"field", "condition"}),
    "TAG_ADDED": (_Reader.tag_trigger, {"tag"}),
    "TAG_REMOVED": (_Reader.tag_trigger, {"tag"}),
    "DATE": (_Reader.date_trigger, {"field", "offset", "at", "repeats"}),
    "MANUAL": (_Reader.manual_trigger, set()),
    "SCHEDULE": (_Reader.schedule_trigger, {"segmentId", "at"}),
}
_STEPS: dict[str, tuple[Callable[[_Reader, Mapping[str, Any], str], Step], set[str]]] = {
    "trigger": (_Reader.start_step, set()),
    "send": (_Reader.send, {"channel", "templateId", "transactional", "priority"}),
    "wait": (_Reader.wait, {"duration", "until", "timeOfDay"}),
    "waitForEvent": (_Reader.wait_for_event, {"eventType", "condition", "match", "timeout"}),
    "branch": (_Reader.branch, {"branches"}),
    "split": (_Reader.split, {"arms"}),
    "update": (_Reader.update, {"attributes"}),
    "tag": (_Reader.tag, {"add", "remove"}),
    "record": (_Reader.record, {"eventType", "properties"}),
    "webhook": (_Reader.webhook, {"url", "method", "body", "headers"}),
    "exit": (_Reader.exit, {"reason"}),
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


def _refuse_cycles(nodes: Mapping[str, Node]) -> None:
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


def _reached(nodes: Mapping[str, Node], start: str) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        new = set(nodes[waiting.pop()].next.values()) - reached
        reached |= new
        waiting.extend(new)
    return reached


def _property(name: str, operator: str, value: object = None) -> dict[str, Any]:
    leaf: dict[str, Any] = {"type": "property", "field": name, "operator": operator}
    return leaf if value is None else {**leaf, "value": value}


def _both(rule: dict[str, Any], condition: object) -> dict[str, Any]:
    return rule if condition is None else {"operator": "AND", "conditions": [rule, condition]}


def _items(raw: object, path: str, most: int) -> Iterator[tuple[object, str]]:
    if raw is None:
        return
    if not isinstance(raw, list):
        raise InvalidDefinition(path, "Must be a list.")
    if len(raw) > most:
        raise InvalidDefinition(path, f"There may be at most {most}.")
    for place, one in enumerate(raw):
        yield one, f"{path}[{place}]"


def _object(raw: object, path: str) -> Mapping[str, Any]:
    if not isinstance(raw, dict):
        raise InvalidDefinition(path, "Must be an object.")
    return raw


def _refuse_unknown(body: Mapping[str, Any], known: set[str], path: str) -> None:
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


def _small(raw: object, path: str) -> int | None:
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
    length = read_duration(raw)
    if length is None or length <= timedelta():
        raise InvalidDefinition(path, 'Must be a duration such as "30m", "12h", "2d" or "4w".')
    return length


def _offset(raw: object, path: str) -> timedelta:
    if raw is None:
        return timedelta()
    length = read_duration(raw)
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
    if (fault := fault_of_field(name)) is not None:
        raise InvalidDefinition(path, fault)
    return path_of(name)[1:]
