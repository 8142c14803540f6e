"""Triggers, re-entry, goal and exits: when a contact enters a campaign, may enter again, and leaves it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, Literal, cast
from uuid import UUID

from campaigns.errors import InvalidDefinition
from campaigns.journeys.definition.values import (
    MAX_TEXT,
    EventMatch,
    RuleContext,
    parse_attribute,
    parse_event_path,
    parse_length,
    parse_offset,
    parse_time_of_day,
)
from config.values.json_values import JsonValue
from events.models import Event
from events.names import (
    CONTACT_CREATED,
    CONTACT_TAGGED,
    CONTACT_UPDATED,
    SEGMENT_ENTERED,
    SEGMENT_EXITED,
    SYSTEM_EVENTS,
)
from events.rules import Rule, parse_rule
from events.rules.durations import parse_moment


def is_trusted(event_name: str, source: str) -> bool:
    """Return whether campaigns may act on an event of this name and source."""
    return event_name not in SYSTEM_EVENTS or source == Event.Source.SYSTEM


@dataclass(frozen=True, slots=True)
class EventTrigger:
    """Enrolls the contact of an event for which a rule holds.

    `relevance_rule`: events for which it does not hold are ignored without a decision, as those about another tag;
    None: all events of the name are relevant.
    """

    event_name: str
    rule: Rule
    relevance_rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class DateTrigger:
    """Enrolls a contact `offset` from a date attribute; `at`: the time of day in the contact's zone."""

    attribute: str
    offset: timedelta
    at: time | None
    is_yearly: bool


@dataclass(frozen=True, slots=True)
class ScheduleTrigger:
    """Enrolls the members of a segment at a moment; None: on activation."""

    segment_id: UUID
    at: datetime | None


@dataclass(frozen=True, slots=True)
class ManualTrigger:
    """Enrolls contacts by hand or by the API only."""


Trigger = EventTrigger | DateTrigger | ScheduleTrigger | ManualTrigger


@dataclass(frozen=True, slots=True)
class Reentry:
    """Whether a contact may enter again. `days`: of `interval`; `path`: of `key`, in event properties."""

    mode: Literal["once", "afterwards", "every", "interval", "key"] = "afterwards"
    days: int = 0
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Goal:
    """The event that converts an enrollment, within a time of its start."""

    match: EventMatch
    within: timedelta


def parse_trigger(value: JsonValue, context: RuleContext) -> list[Trigger]:
    """Parse a trigger; the first of the list is it, and others follow from it."""
    value.as_object()
    kind = value.get("type")
    if not isinstance(kind.raw, str) or kind.raw not in _TRIGGERS:
        kind.fail(f"The type must be one of {', '.join(_TRIGGERS)}.")
    parse, keys = _TRIGGERS[kind.raw]
    return parse(value.as_object(keys | {"type"}), context)


def _event_trigger(body: JsonValue, context: RuleContext) -> list[Trigger]:
    match = context.event_match(body)
    return [EventTrigger(match.event_name, match.rule)]


def _segment_trigger(body: JsonValue, context: RuleContext) -> list[Trigger]:
    segment_id = body.get("segmentId").uuid()
    name = SEGMENT_ENTERED if body.raw["type"] == "SEGMENT_ENTER" else SEGMENT_EXITED
    return [_change_trigger(name, _property("properties.segmentId", "eq", str(segment_id)))]


def _created_trigger(body: JsonValue, context: RuleContext) -> list[Trigger]:
    return [EventTrigger(CONTACT_CREATED, parse_rule(None, about_event=CONTACT_CREATED))]


def _attribute_trigger(body: JsonValue, context: RuleContext) -> list[Trigger]:
    name = _contact_field(body.get("field"))
    column = _CONTACT_COLUMNS.get(name, name)
    condition = body.get("condition")
    if condition.raw is not None:
        context.rule(condition, CONTACT_UPDATED)
    new, old = (_property(f"properties.{side}.{column}", "exists") for side in ("new", "old"))
    changed = {"operator": "OR", "conditions": [new, old]}
    return [
        _change_trigger(CONTACT_UPDATED, changed, condition.raw),
        # A contact that is created with a value has changed from nothing.
        _change_trigger(CONTACT_CREATED, new, condition.raw),
    ]


def _tag_trigger(body: JsonValue, context: RuleContext) -> list[Trigger]:
    tag = body.get("tag").text(MAX_TEXT)
    if body.raw["type"] == "TAG_ADDED":
        return [_change_trigger(CONTACT_TAGGED, _property("properties.new.tags", "contains", tag))]
    return [_change_trigger(CONTACT_UPDATED, _property("properties.old.tags", "contains", tag))]


def _change_trigger(name: str, own: dict[str, Any], condition: object = None) -> EventTrigger:
    """Build a trigger by a system event; `own`: the rule by which the event is relevant."""
    relevance_rule = parse_rule(own, about_event=name)
    if condition is None:
        return EventTrigger(name, relevance_rule, relevance_rule)
    both = {"operator": "AND", "conditions": [own, condition]}
    return EventTrigger(name, parse_rule(both, about_event=name), relevance_rule)


def _date_trigger(body: JsonValue, context: RuleContext) -> list[Trigger]:
    repeats = body.get("repeats", "never")
    if repeats.raw not in ("yearly", "never"):
        repeats.fail("Must be yearly or never.")
    return [
        DateTrigger(
            parse_attribute(body.get("field")),
            parse_offset(body.get("offset")),
            parse_time_of_day(body.get("at")),
            repeats.raw == "yearly",
        )
    ]


def _schedule_trigger(body: JsonValue, context: RuleContext) -> list[Trigger]:
    at = body.get("at")
    moment = None if at.raw is None else parse_moment(at.raw)
    if at.raw is not None and not isinstance(moment, datetime):
        at.fail("Must be a date or a date-time.")
    return [ScheduleTrigger(body.get("segmentId").uuid(), cast(datetime | None, moment))]


def _manual_trigger(body: JsonValue, context: RuleContext) -> list[Trigger]:
    return [ManualTrigger()]


def parse_reentry(value: JsonValue) -> Reentry:
    """Parse the re-entry; null is the default."""
    if value.raw is None:
        return Reentry()
    value.as_object()
    mode = value.get("mode", "afterwards")
    if mode.raw not in tuple(_REENTRY):
        mode.fail(f"The mode must be one of {', '.join(_REENTRY)}.")
    value.as_object({"mode", *_REENTRY[mode.raw]})
    days = value.get("days", 0)
    is_number = isinstance(days.raw, int) and not isinstance(days.raw, bool)
    if mode.raw == "interval" and not (is_number and 1 <= days.raw <= 3650):
        days.fail("Must be a number of days from 1 to 3650.")
    path = parse_event_path(value.get("property")) if mode.raw == "key" else ()
    return Reentry(mode.raw, days.raw, path)


def parse_goal(value: JsonValue, context: RuleContext) -> Goal | None:
    """Parse the goal; None for null."""
    if value.raw is None:
        return None
    value.as_object({"eventType", "condition", "within"})
    return Goal(context.event_match(value), parse_length(value.get("within")))


def parse_exit(value: JsonValue, context: RuleContext) -> EventMatch | Rule:
    """Parse an exit rule: by an event, or by the contact's state."""
    value.as_object({"eventType", "condition"})
    if "eventType" in value.raw:
        return context.event_match(value)
    return context.rule(value.get("condition"), None)


def _contact_field(value: JsonValue) -> str:
    if isinstance(value.raw, str) and value.raw in _CONTACT_COLUMNS:
        return value.raw
    try:
        return f"attributes.{parse_attribute(value)}"
    except InvalidDefinition:
        known = ", ".join(sorted(_CONTACT_COLUMNS))
        raise InvalidDefinition(value.path, f'The field must be "attributes.…" or one of {known}.') from None


def _property(name: str, operator: str, value: object = None) -> dict[str, Any]:
    leaf: dict[str, Any] = {"type": "property", "field": name, "operator": operator}
    return leaf if value is None else {**leaf, "value": value}


_TRIGGERS: dict[str, tuple[Callable[[JsonValue, RuleContext], list[Trigger]], set[str]]] = {
    "EVENT": (_event_trigger, {"eventType", "condition"}),
    "SEGMENT_ENTER": (_segment_trigger, {"segmentId"}),
    "SEGMENT_EXIT": (_segment_trigger, {"segmentId"}),
    "CONTACT_CREATED": (_created_trigger, set()),
    "ATTRIBUTE_CHANGED": (_attribute_trigger, {"field", "condition"}),
    "TAG_ADDED": (_tag_trigger, {"tag"}),
    "TAG_REMOVED": (_tag_trigger, {"tag"}),
    "DATE": (_date_trigger, {"field", "offset", "at", "repeats"}),
    "MANUAL": (_manual_trigger, set()),
    "SCHEDULE": (_schedule_trigger, {"segmentId", "at"}),
}
"""Parser and keys of each type of trigger."""
_REENTRY: dict[str, set[str]] = {
    "once": set(),
    "afterwards": set(),
    "every": set(),
    "interval": {"days"},
    "key": {"property"},
}
"""Keys of each mode of re-entry."""
_CONTACT_COLUMNS = {
    "firstName": "first_name",
    "lastName": "last_name",
    "externalId": "external_id",
    "email": "email",
    "phone": "phone",
}
"""The contact's own fields, as contact.updated events name them."""
