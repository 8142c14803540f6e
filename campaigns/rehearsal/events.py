"""The events of a rehearsal: those of the past that concern its campaign, in the order in which they became known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from campaigns.journeys.date_triggers import CONTACT_CHANGE_EVENTS
from campaigns.journeys.definition.steps import WaitUntilDateStep
from campaigns.journeys.definition.triggers import DateTrigger, EventTrigger
from campaigns.journeys.plans import ActiveCampaign, listeners_of
from campaigns.rehearsal.session import HISTORY, KNOWN_AT
from config.db.statements import execute, fetch_all
from events.id_bounds import end_id_of_events, first_id_of_events
from events.models import EffectsLevel, Event
from events.processing.passes import EffectEvent
from events.stream.lateness import LATE_AFTER

SELECT_EVENT: Final = (
    "SELECT e.id, COALESCE(c.merged_into_id, c.id) AS contact_id, e.name, e.occurred_at, e.source, e.depth,"
    " e.received_at"
)
"""Columns of an event `e` of a contact `c`, as `effect_event` reads them."""


def names_of_definition(active_campaign: ActiveCampaign) -> tuple[list[str], list[str]]:
    """Return the names of the events that concern a campaign, and the attributes whose dates do."""
    definition = active_campaign.definition
    names = {trigger.event_name for trigger in definition.triggers if isinstance(trigger, EventTrigger)}
    listeners = listeners_of(active_campaign.campaign_id, active_campaign.version_id, definition)
    names |= {listener.match.event_name for listener in listeners}
    attributes = {trigger.attribute for trigger in definition.triggers if isinstance(trigger, DateTrigger)}
    waits = (node.step for node in definition.nodes.values())
    if attributes or any(isinstance(step, WaitUntilDateStep) for step in waits):
        names |= CONTACT_CHANGE_EVENTS
    return sorted(names), sorted(attributes)


def collect_history(
    workspace_id: UUID,
    campaign_id: UUID,
    names: Sequence[str],
    since: datetime,
    until: datetime,
    *,
    attributes: Sequence[str] = (),
) -> list[UUID]:
    """Put the events of these names that became known from `since` until `until` in order, in a temporary table.

    Returns whose they are, and who has one of the attributes. Called before the tables are hidden.
    """
    execute(
        f"CREATE TEMP TABLE {HISTORY} AS SELECT row_number() OVER (ORDER BY known_at, occurred_at, id) AS place,"
        f" h.* FROM ({SELECT_EVENT}, {KNOWN_AT} AS known_at FROM {Event._meta.db_table} e"
        "  JOIN contacts_contact c ON c.workspace_id = e.workspace_id AND c.id = e.contact_id"
        "  WHERE e.workspace_id = %s AND e.name = ANY(%s) AND e.id BETWEEN %s AND %s"
        "  AND NOT (e.source = 'system' AND e.properties @> jsonb_build_object('campaignId', %s::text))"
        " ) h WHERE known_at >= %s AND known_at < %s",
        [
            *(workspace_id, list(names), first_id_of_events(since - LATE_AFTER), end_id_of_events(until)),
            *(str(campaign_id), since, until),
        ],
    )
    execute(f"CREATE INDEX ON {HISTORY} (place)")
    found = fetch_all(
        f"SELECT contact_id FROM {HISTORY} UNION SELECT id FROM contacts_contact"
        " WHERE workspace_id = %s AND merged_into_id IS NULL AND attributes ?| %s::text[]",
        [workspace_id, list(attributes)],
    )
    return [contact_id for (contact_id,) in found]


def history_size() -> int:
    """Return how many events `collect_history` found."""
    ((count,),) = fetch_all(f"SELECT count(*) FROM {HISTORY}", [])
    return int(count)


def effect_event(row: Sequence[Any], level: EffectsLevel) -> EffectEvent:
    """Return the event of a row of `SELECT_EVENT`, as the effect takes it."""
    id_, contact_id, name, occurred_at, source, depth, received_at, *_ = row
    return EffectEvent(id_, contact_id, name, occurred_at, source, depth, level, received_at=received_at)
