"""Values that triggers and steps share: rules, durations, times of day, contact attributes and paths."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import time, timedelta

from campaigns.errors import InvalidDefinition
from config.values.json_values import JsonValue
from config.values.names import composed
from events.errors import InvalidCondition
from events.rules import Rule, parse_rule
from events.rules.conditions import field_error, path_of
from events.rules.durations import parse_duration
from events.rules.parser import DeclaredTypes

MAX_TEXT = 255
MAX_ID = 64
_TIME_OF_DAY = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d", re.ASCII)


@dataclass(frozen=True, slots=True)
class EventMatch:
    """Events of a name for which a rule holds."""

    event_name: str
    rule: Rule


@dataclass(slots=True)
class RuleContext:
    """What rules of a definition are checked against."""

    types: DeclaredTypes = field(default_factory=DeclaredTypes)
    # Names of the events that trigger, for branches: they may read the triggering event.
    trigger_event: str | None = None

    def rule(self, value: JsonValue, about_event: str | None) -> Rule:
        """Parse a rule; `about_event`: the event whose properties it may read. Raises InvalidDefinition."""
        try:
            return parse_rule(value.raw, about_event=about_event, types=self.types)
        except InvalidCondition as error:
            path = f"{value.path}.{error.path}" if error.path else value.path
            raise InvalidDefinition(path, error.message) from error

    def event_match(self, body: JsonValue) -> EventMatch:
        """Parse the `eventType` and `condition` of an object."""
        name = body.get("eventType").text(MAX_TEXT)
        return EventMatch(name, self.rule(body.get("condition"), name))


def parse_handle(body: JsonValue, taken: Collection[str]) -> str:
    """Return the handle of a branch or an arm, which no other may have."""
    handle = body.get("handle")
    if not isinstance(handle.raw, str) or not 0 < len(handle.raw) <= MAX_ID or handle.raw in taken:
        handle.fail("A handle is needed that is no other's.")
    return handle.raw


def parse_length(value: JsonValue) -> timedelta:
    """Return a positive duration such as "30m"."""
    length = parse_duration(value.raw)
    if length is None or length <= timedelta():
        value.fail('Must be a duration such as "30m", "12h", "2d" or "4w".')
    return length


def parse_offset(value: JsonValue) -> timedelta:
    """Return an offset such as "-3d"; zero for null."""
    if value.raw is None:
        return timedelta()
    length = parse_duration(value.raw)
    if length is None:
        value.fail('Must be an offset such as "-3d", "+2h" or "0d".')
    return length


def parse_time_of_day(value: JsonValue) -> time | None:
    """Return a time of day such as "09:00"; None for null."""
    if value.raw is None:
        return None
    if not isinstance(value.raw, str) or not _TIME_OF_DAY.fullmatch(value.raw):
        value.fail('Must be a time of day such as "09:00".')
    return time.fromisoformat(value.raw)


def parse_attribute(value: JsonValue) -> str:
    """Return the name of a contact attribute from `attributes.…`, without the prefix."""
    raw = value.raw
    name = composed(raw.removeprefix("attributes.")) if isinstance(raw, str) else ""
    if not isinstance(raw, str) or not 0 < len(name) < len(raw) <= MAX_TEXT or "." in name:
        value.fail('The field must be "attributes.…".')
    return name


def parse_event_path(value: JsonValue) -> tuple[str, ...]:
    """Return the keys that lead to a value in an event's properties."""
    if not isinstance(value.raw, str) or len(value.raw) > MAX_TEXT:
        value.fail(f"The name of a property is needed, of up to {MAX_TEXT} characters.")
    is_qualified = value.raw.startswith(("metadata.", "properties."))
    name = value.raw if is_qualified else f"properties.{value.raw}"
    if (fault := field_error(name)) is not None:
        value.fail(fault)
    return path_of(name)[1:]
