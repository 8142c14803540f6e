"""Preview an unsaved scoring rule on the latest events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from config import clock
from config.db.sql import sql
from config.db.statements import fetch_all, fetch_one
from events.rules.event_matching import latest_events, matches
from scoring.models import ScoringRule
from scoring.rule_matching import read
from scoring.rules import rule_warnings, validate_rule

LOOKS_BACK = timedelta(days=30)
MOST_EVENTS = 10_000
# What asks for the contact costs more per event.
MOST_EVENTS_WITH_CONTACTS = 1_000
SAMPLES = 10


class Match(NamedTuple):
    """An event that the rule matches."""

    event_id: UUID
    contact_id: UUID
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class Preview:
    """How many of the latest `events` match, of how many contacts, and some of them."""

    since: datetime
    events: int
    matches: int
    contacts: int
    # The latest first.
    samples: list[Match]
    warnings: list[str]


def preview_rule(rule: ScoringRule) -> Preview:
    """Evaluate an unsaved rule for the latest events of its type. Raises InvalidCondition or InvalidScoringRule."""
    validate_rule(rule)
    evaluator = read(rule)
    now = clock.now()
    most = MOST_EVENTS_WITH_CONTACTS if evaluator.needs_contact else MOST_EVENTS
    source = latest_events(rule.workspace_id, rule.event_name, now - LOOKS_BACK, most)
    matched = matches(rule.workspace_id, [evaluator], source)
    counted = sql(
        "WITH matched AS MATERIALIZED ({})"
        " SELECT (SELECT count(*) FROM {}), (SELECT count(*) FROM matched),"
        " (SELECT count(DISTINCT contact_id) FROM matched)",
        matched,
        source,
    )
    events, count, contacts = fetch_one(counted)
    latest = sql(
        "SELECT event_id, contact_id, occurred_at FROM ({}) m"
        " ORDER BY occurred_at DESC, event_id DESC LIMIT {:int}",
        matched,
        SAMPLES,
    )
    samples = [Match(*row) for row in fetch_all(latest)]
    return Preview(now - LOOKS_BACK, events, count, contacts, samples, rule_warnings(rule))
