"""Steps of a workflow: what happens to an enrollment at a node, and how each type's JSON is parsed."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import time, timedelta
from typing import Any, cast
from uuid import UUID

from campaigns.journeys.definition.values import (
    MAX_TEXT,
    EventMatch,
    RuleContext,
    parse_attribute,
    parse_event_path,
    parse_handle,
    parse_length,
    parse_offset,
    parse_time_of_day,
)
from campaigns.messaging.channels import RESERVED_HEADERS
from config.values.endpoints import MAX_URL, canonical_url
from config.values.json_values import JsonValue
from events.names import SYSTEM_PREFIXES
from events.rules import Rule

MAX_EXITS = 20
MAX_REASON = 40
CHANNELS = ("email", "webhook", "telegram")
METHODS = ("POST", "PUT", "PATCH")
NEXT, ELSE, EVENT, TIMEOUT, HOLDOUT = "", "else", "event", "timeout", "holdout"
"""Handles: where an edge leaves a node. Most nodes have a single one, which has no name."""
TOTAL_PERCENT = 100
"""Sum of a split's weights and its hold-out."""
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)
_LIQUID = re.compile(r"\{[{%]")


@dataclass(frozen=True, slots=True)
class StartStep:
    """Marks the node where enrollments start."""


@dataclass(frozen=True, slots=True)
class SendStep:
    """Sends a message by a template; `priority` None: the campaign's."""

    channel: str
    template_id: UUID
    is_transactional: bool = False
    priority: int | None = None


@dataclass(frozen=True, slots=True)
class WaitStep:
    """Waits for a duration."""

    duration: timedelta


@dataclass(frozen=True, slots=True)
class WaitUntilDateStep:
    """Waits until `offset` from a date attribute, at a time of that day if one is given."""

    attribute: str
    offset: timedelta
    at: time | None = None


@dataclass(frozen=True, slots=True)
class WaitUntilTimeOfDayStep:
    """Waits until a time of day in the contact's zone."""

    at: time


@dataclass(frozen=True, slots=True)
class WaitForEventStep:
    """Waits for an event; with `path`, for one whose value there is the trigger's at `trigger_path`."""

    match: EventMatch
    timeout: timedelta
    path: tuple[str, ...] = ()
    trigger_path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BranchStep:
    """Leaves by the handle of the first rule that holds, else by `else`."""

    branches: tuple[tuple[str, Rule], ...]


@dataclass(frozen=True, slots=True)
class SplitStep:
    """Leaves by a random arm, by weights in percent; what is left of 100 is the hold-out."""

    arms: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class UpdateContactStep:
    """Sets attributes of the contact."""

    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TagStep:
    """Adds and removes tags of the contact."""

    add: tuple[str, ...]
    remove: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RecordEventStep:
    """Records an event of the contact."""

    event_name: str
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CallWebhookStep:
    """Calls a URL; `url`, `body` and the headers' values are Liquid templates."""

    url: str
    method: str
    body: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ExitStep:
    """Ends the enrollment; `reason` may be blank."""

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


def step_handles(step: Step) -> frozenset[str]:
    """Return the handles by which edges may leave a step."""
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


def parse_step(node: JsonValue, context: RuleContext) -> Step:
    """Parse the `type` and `data` of a node."""
    kind = node.get("type")
    if not isinstance(kind.raw, str) or kind.raw not in _STEPS:
        kind.fail(f"The type must be one of {', '.join(_STEPS)}.")
    parse, keys = _STEPS[kind.raw]
    return parse(node.get("data", {}).as_object(keys), context)


def _start(data: JsonValue, context: RuleContext) -> Step:
    return StartStep()


def _send(data: JsonValue, context: RuleContext) -> Step:
    channel = data.get("channel", "email")
    # The API spells channels in capitals elsewhere.
    name = channel.raw.lower() if isinstance(channel.raw, str) else channel.raw
    if name not in CHANNELS:
        channel.fail(f"The channel must be one of {', '.join(CHANNELS)}.")
    return SendStep(
        name,
        data.get("templateId").uuid(),
        data.get("transactional", False).flag(),
        _priority(data.get("priority")),
    )


def _priority(value: JsonValue) -> int | None:
    raw: object = value.raw
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int) or abs(raw) > 1000:
        value.fail("Must be a whole number from -1000 to 1000.")
    return raw


def _wait(data: JsonValue, context: RuleContext) -> Step:
    kinds = [key for key in ("duration", "until", "timeOfDay") if data.raw.get(key) is not None]
    if len(kinds) != 1:
        data.fail("One of duration, until and timeOfDay is needed.")
    if kinds == ["duration"]:
        return WaitStep(parse_length(data.get("duration")))
    if kinds == ["timeOfDay"]:
        return WaitUntilTimeOfDayStep(cast(time, parse_time_of_day(data.get("timeOfDay"))))
    until = data.get("until").as_object({"field", "offset", "at"})
    return WaitUntilDateStep(
        parse_attribute(until.get("field")),
        parse_offset(until.get("offset")),
        parse_time_of_day(until.get("at")),
    )


def _wait_for_event(data: JsonValue, context: RuleContext) -> Step:
    match = context.event_match(data)
    timeout = parse_length(data.get("timeout"))
    correlation = data.get("match")
    if correlation.raw is None:
        return WaitForEventStep(match, timeout)
    correlation.as_object({"property", "trigger"})
    path = parse_event_path(correlation.get("property"))
    trigger = correlation.get("trigger")
    return WaitForEventStep(match, timeout, path, path if trigger.raw is None else parse_event_path(trigger))


def _branch(data: JsonValue, context: RuleContext) -> Step:
    branches: list[tuple[str, Rule]] = []
    for branch in data.get("branches").items(MAX_EXITS):
        branch.as_object({"handle", "condition", "label"})
        handle = parse_handle(branch, {ELSE, *(name for name, _ in branches)})
        condition = branch.get("condition")
        if condition.raw is None:
            condition.fail("A rule is needed.")
        branches.append((handle, context.rule(condition, context.trigger_event)))
    if not branches:
        data.get("branches").fail("At least one branch is needed.")
    return BranchStep(tuple(branches))


def _split(data: JsonValue, context: RuleContext) -> Step:
    arms: list[tuple[str, float]] = []
    for arm in data.get("arms").items(MAX_EXITS):
        arm.as_object({"handle", "weight", "label"})
        handle = parse_handle(arm, {HOLDOUT, *(name for name, _ in arms)})
        weight = arm.get("weight")
        is_number = isinstance(weight.raw, int | float) and not isinstance(weight.raw, bool)
        if not is_number or not 0 < weight.raw <= TOTAL_PERCENT:
            weight.fail(f"Must be a number above 0, up to {TOTAL_PERCENT}.")
        arms.append((handle, weight.raw))
    if not arms:
        data.get("arms").fail("At least one arm is needed.")
    if sum(weight for _, weight in arms) > TOTAL_PERCENT + 1e-9:
        data.get("arms").fail(f"The weights come to more than {TOTAL_PERCENT}.")
    return SplitStep(tuple(arms))


def _update(data: JsonValue, context: RuleContext) -> Step:
    attributes = data.get("attributes").as_object()
    if not attributes.raw:
        attributes.fail("At least one attribute is needed.")
    if not all(0 < len(name.strip()) <= len(name) <= MAX_TEXT for name in attributes.raw):
        attributes.fail(f"A name has 1 to {MAX_TEXT} characters.")
    return UpdateContactStep(attributes.raw)


def _tag(data: JsonValue, context: RuleContext) -> Step:
    add, remove = (
        tuple(tag.text(MAX_TEXT) for tag in data.get(key).items(MAX_EXITS)) for key in ("add", "remove")
    )
    if not add and not remove:
        data.fail("At least one tag is needed.")
    return TagStep(add, remove)


def _record(data: JsonValue, context: RuleContext) -> Step:
    event_type = data.get("eventType")
    name = event_type.text(MAX_TEXT)
    if name.startswith(SYSTEM_PREFIXES):
        event_type.fail("Only the system itself tells of such an event.")
    return RecordEventStep(name, data.get("properties", {}).as_object().raw)


def _webhook(data: JsonValue, context: RuleContext) -> Step:
    url, method, body = data.get("url"), data.get("method", "POST"), data.get("body", "")
    if not isinstance(url.raw, str) or not _is_url(url.raw):
        url.fail("Must be an http or https address.")
    if method.raw not in METHODS:
        method.fail(f"The method must be one of {', '.join(METHODS)}.")
    if not isinstance(body.raw, str):
        body.fail("Must be a text: a template of JSON.")
    # An empty value of any type means no headers.
    headers = data.get("headers")
    headers = headers.replace(headers.raw or {}).as_object()
    for name in headers.raw:
        header = headers.get(name)
        if not _HEADER.fullmatch(name) or name.lower().startswith(RESERVED_HEADERS):
            header.fail("This header cannot be set.")
        if not isinstance(header.raw, str) or not header.raw.isprintable():
            header.fail("Must be a text of one line.")
    return CallWebhookStep(url.raw, method.raw, body.raw, headers.raw)


def _is_url(url: str) -> bool:
    """Return whether a call can be made to a URL; one with Liquid is checked again once rendered."""
    if not _LIQUID.search(url):
        return canonical_url(url) is not None
    return url.startswith(("http://", "https://")) and len(url) <= MAX_URL and url.isprintable()


def _exit(data: JsonValue, context: RuleContext) -> Step:
    reason = data.get("reason")
    if reason.raw is None or reason.raw == "":
        return ExitStep("")
    if not isinstance(reason.raw, str) or len(reason.raw) > MAX_REASON:
        reason.fail(f"Must be a text of up to {MAX_REASON} characters.")
    return ExitStep(reason.raw)


_STEPS: dict[str, tuple[Callable[[JsonValue, RuleContext], Step], set[str]]] = {
    "trigger": (_start, set()),
    "send": (_send, {"channel", "templateId", "transactional", "priority"}),
    "wait": (_wait, {"duration", "until", "timeOfDay"}),
    "waitForEvent": (_wait_for_event, {"eventType", "condition", "match", "timeout"}),
    "branch": (_branch, {"branches"}),
    "split": (_split, {"arms"}),
    "update": (_update, {"attributes"}),
    "tag": (_tag, {"add", "remove"}),
    "record": (_record, {"eventType", "properties"}),
    "webhook": (_webhook, {"url", "method", "body", "headers"}),
    "exit": (_exit, {"reason"}),
}
"""Parser and keys of each type of step."""
