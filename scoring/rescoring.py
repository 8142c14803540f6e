"""Re-score contacts from the stream and the ledger, after an edit of a rule and after merges.

Idempotent: where everything is right it changes nothing, so it may stop anywhere and run twice.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import transaction

from config import clock
from config.db.arrays import array, array_of_decimals
from config.db.backfill import Batch
from config.db.sql import Sql, sql
from config.db.statements import execute, fetch_all
from contacts.models import Contact
from events.errors import InvalidCondition
from events.id_bounds import first_id_of_events
from events.models import Event
from events.processing.lane_backfills import LaneBackfill, LanePosition, contacts_of_lane
from events.processing.timers import schedule_timers
from events.rules.event_matching import events_of_contacts, matches
from events.stream.derived_events import MAX_DEPTH
from scoring.models import RuleScore, ScoreEntry, ScoringRule
from scoring.rule_matching import RuleEvaluator, read, read_where_event_decides
from scoring.rule_scores import (
    SCORE_TIMER_KEY,
    entries_of,
    mark_entries,
    recalculate_entries,
    schedule_decay,
    write_rule_scores,
)
from scoring.rules import RESCORES as RESCORES_PATH
from scoring.rules import finish_lane

logger = logging.getLogger(__name__)

CHUNK = 500
"""Contacts in a transaction: the lane's effects wait for one."""


@dataclass(frozen=True, slots=True)
class Rescored:
    """Contacts of a lane that were re-scored, and whose score changed; `after`: the last one, None: none is left."""

    after: UUID | None
    contacts: int
    changed: int


def rescore_lane(
    workspace_id: UUID, rule_id: UUID, lane: int, *, at_most_seconds: float | None = None
) -> bool:
    """Bring a lane's contacts in line with a rule that is being re-scored. Returns whether it ended in time."""
    return RESCORES.run_lane(workspace_id, rule_id, lane, at_most_seconds=at_most_seconds)


def _rescore_batch(position: LanePosition) -> Batch:
    """Re-score the next contacts, unless the rule is no longer to be re-scored."""
    rules = ScoringRule.with_deleted.in_workspace(position.workspace_id)
    rule = rules.filter(id=position.subject_id).first()
    if rule is None or not rule.is_rescoring:
        return Batch(None)
    contact_ids = position.contacts(CHUNK)
    reevaluates = rule.rescore_reevaluates and rule.deleted_at is None
    evaluators = _readable(rule) if reevaluates else []
    _rescore(position.workspace_id, contact_ids, [rule], evaluators, clock.now())
    if len(contact_ids) == CHUNK:
        return Batch(str(contact_ids[-1]), done=CHUNK)
    # Last, for the lanes share the row.
    finish_lane(rule, position.lane, clock.now())
    return Batch(None, done=len(contact_ids), failed=int(reevaluates and not evaluators))


@transaction.atomic
def rescore_contacts(workspace_id: UUID, contact_ids: Collection[UUID]) -> set[UUID]:
    """Recalculate the scores of contacts, and of those merged with them. Their lanes must be locked.

    An event's points count for the survivor of its contact. Rules that read the event only are evaluated again, for
    events received since the rule holds. Other rules, unreadable rules and events no longer in the stream keep
    their entries. Returns the contacts whose score changed.
    """
    ids = _merged_with(workspace_id, contact_ids)
    if not ids:
        return set()
    _move_to_survivor(workspace_id, ids)
    rules = list(ScoringRule.with_deleted.in_workspace(workspace_id).order_by("id"))
    evaluators = read_where_event_decides(rule for rule in rules if rule.deleted_at is None)
    return _rescore(workspace_id, ids, rules, evaluators, clock.now())


@transaction.atomic
def reevaluate_contacts(workspace_id: UUID, contact_ids: Collection[UUID], rule_id: UUID) -> None:
    """Evaluate one rule again for contacts, by what is known now; not one that cannot be read.

    Their lanes must be locked.
    """
    rule = ScoringRule.objects.in_workspace(workspace_id).filter(id=rule_id).first()
    evaluators = [] if rule is None else _readable(rule, rule.effective_from)
    if rule is not None and evaluators:
        ids = _merged_with(workspace_id, contact_ids)
        _rescore(workspace_id, ids, [rule], evaluators, clock.now())


def rescore_next(
    workspace_id: UUID, lane: int, after: UUID, limit: int, *, since: datetime | None = None
) -> Rescored:
    """Re-score the next contacts of a lane, which must be held; `since`: those with an event that happened since."""
    contact_ids = contacts_of_lane(workspace_id, lane, after, limit)
    wanted = contact_ids if since is None else _with_events_since(workspace_id, contact_ids, since)
    changed = rescore_contacts(workspace_id, wanted) if wanted else ()
    return Rescored(contact_ids[-1] if len(contact_ids) == limit else None, len(wanted), len(changed))


def canonical_contacts(workspace_id: UUID, after: UUID, limit: int) -> list[UUID]:
    """Return the next canonical contacts, by id."""
    contacts = Contact.objects.in_workspace(workspace_id).canonical().filter(id__gt=after).order_by("id")
    return list(contacts.values_list("id", flat=True)[:limit])


def _readable(rule: ScoringRule, evaluates_from: datetime | None = None) -> list[RuleEvaluator]:
    """Return what evaluates a rule; nothing where it cannot be read, for then what it gave stays."""
    try:
        return [read(rule, evaluates_from)]
    except InvalidCondition as error:
        logger.warning("The scoring rule %s cannot be read, and is not evaluated again: %s", rule.id, error)
        return []


def _with_events_since(workspace_id: UUID, contact_ids: list[UUID], since: datetime) -> list[UUID]:
    merged = Contact.objects.in_workspace(workspace_id).filter(merged_into__in=contact_ids)
    owners: dict[UUID, UUID] = {contact_id: contact_id for contact_id in contact_ids}
    owners |= {merged_id: into for merged_id, into in merged.values_list("id", "merged_into_id") if into}
    events = Event.objects.in_workspace(workspace_id).filter(
        contact_id__in=owners, id__gte=first_id_of_events(since), occurred_at__gte=since
    )
    found = events.values_list("contact_id", flat=True).distinct()
    return sorted({owners[contact_id] for contact_id in found if contact_id})


def _merged_with(workspace_id: UUID, contact_ids: Collection[UUID]) -> list[UUID]:
    rows = fetch_all(
        "WITH survivors AS MATERIALIZED (SELECT DISTINCT COALESCE(merged_into_id, id) AS id"
        " FROM contacts_contact WHERE workspace_id = %s AND id = ANY(%s))"
        " SELECT id FROM survivors UNION SELECT c.id FROM survivors"
        " JOIN contacts_contact c ON c.workspace_id = %s AND c.merged_into_id = survivors.id ORDER BY id",
        [workspace_id, list(contact_ids), workspace_id],
    )
    return [contact_id for (contact_id,) in rows]


def _owners(workspace_id: UUID, contact_ids: Sequence[UUID]) -> list[tuple[UUID, UUID]]:
    """Return pairs (contact, its survivor) for contacts and those merged into them."""
    return fetch_all(
        "SELECT id, COALESCE(merged_into_id, id) FROM contacts_contact"
        " WHERE workspace_id = %s AND (id = ANY(%s) OR merged_into_id = ANY(%s))",
        [workspace_id, list(contact_ids), list(contact_ids)],
    )


def _move_to_survivor(workspace_id: UUID, contact_ids: Sequence[UUID]) -> None:
    """Move each entry to the survivor of its event's contact; if the event is gone, of its own contact."""
    execute(_MOVE_TO_SURVIVOR, [workspace_id, list(contact_ids), workspace_id, workspace_id, workspace_id])


# OFFSET 0 and the laterals keep it to one look-up by key an entry; each is written where it was seen to stand.
_MOVE_TO_SURVIVOR = """
WITH home AS MATERIALIZED (
    SELECT s.place, COALESCE(c.merged_into_id, c.id) AS contact_id
    FROM (
        SELECT ctid AS place, contact_id, event_id FROM scoring_scoreentry
        WHERE workspace_id = %s AND contact_id = ANY(%s) OFFSET 0
    ) s
    LEFT JOIN LATERAL (
        SELECT contact_id FROM events_event WHERE workspace_id = %s AND id = s.event_id OFFSET 0
    ) e ON true
    CROSS JOIN LATERAL (
        SELECT id, merged_into_id FROM contacts_contact
        WHERE workspace_id = %s AND id = COALESCE(e.contact_id, s.contact_id) OFFSET 0
    ) c
    WHERE s.contact_id <> COALESCE(c.merged_into_id, c.id)
)
UPDATE scoring_scoreentry s SET contact_id = home.contact_id FROM home
WHERE s.workspace_id = %s AND s.ctid = home.place
"""


def _rescore(
    workspace_id: UUID,
    contact_ids: Sequence[UUID],
    rules: Sequence[ScoringRule],
    evaluators: Sequence[RuleEvaluator],
    now: datetime,
) -> set[UUID]:
    """Evaluate rules, calculate and sum up; set a timer for each changed score, so that other effects see it."""
    if not contact_ids:
        return set()
    owners = _owners(workspace_id, contact_ids)
    # A statement evaluates rules of one event name that need the same.
    by_kind: dict[tuple[str, bool], list[RuleEvaluator]] = defaultdict(list)
    for evaluator in evaluators:
        by_kind[evaluator.rule.event_name, evaluator.needs_contact].append(evaluator)
    origins = list({contact_id for pair in owners for contact_id in pair})
    for (name, _), named in by_kind.items():
        source = events_of_contacts(workspace_id, owners, name)
        evaluate_events(
            workspace_id, source, sql("s.contact_id = ANY({:uuid[]})", array(origins)), named, now
        )
    recalculate_ledger(workspace_id, contact_ids, rules, now)
    changed = sum_up(workspace_id, contact_ids, now)
    schedule_timers(workspace_id, [(SCORE_TIMER_KEY, contact_id, now) for contact_id in changed])
    return changed


def evaluate_events(
    workspace_id: UUID, source: Sql, scope: Sql, evaluators: Sequence[RuleEvaluator], now: datetime
) -> None:
    """Rewrite the entries of events to what the rules award now.

    `source`: the events, all of one name. `scope`: SQL that selects their entries `s`.
    """
    statement = sql(
        """
        WITH matched AS MATERIALIZED (
            SELECT *, ({rule_ids:uuid[]})[place] AS rule_id FROM ({matched}) m
            WHERE ({active:boolean[]})[place] AND depth <= {max_depth:int}
        ), held AS (
            SELECT s.ctid AS place, s.event_id, s.rule_id
            FROM scoring_scoreentry s
            JOIN unnest({rule_ids:uuid[]}, {evaluates_from:timestamptz[]}) AS rules (id, evaluates_from)
                ON rules.id = s.rule_id
            CROSS JOIN LATERAL (
                SELECT received_at FROM events_event
                WHERE workspace_id = {workspace_id:uuid} AND id = s.event_id OFFSET 0
            ) e
            WHERE s.workspace_id = {workspace_id:uuid} AND {scope} AND e.received_at >= rules.evaluates_from
        ), gone AS (
            DELETE FROM scoring_scoreentry WHERE workspace_id = {workspace_id:uuid} AND ctid = ANY (ARRAY(
                -- Grouped: joined, or looked up in a list that is thought to be long, the two would be read once
                -- for each other.
                SELECT min(place) FROM (
                    SELECT place, event_id, rule_id FROM held
                    UNION ALL SELECT NULL, event_id, rule_id FROM matched
                ) both_ GROUP BY event_id, rule_id HAVING count(*) = count(place)
            ))
        )
        INSERT INTO scoring_scoreentry AS s
            (id, workspace_id, contact_id, rule_id, event_id, points, occurred_at, created_at)
        SELECT gen_random_uuid(), {workspace_id:uuid}, contact_id, rule_id, event_id, ({points:numeric[]})[place],
            occurred_at, {now:timestamptz}
        FROM matched
        ON CONFLICT (workspace_id, event_id, rule_id) DO UPDATE
        SET points = excluded.points, contact_id = excluded.contact_id, occurred_at = excluded.occurred_at
        WHERE (s.points, s.contact_id, s.occurred_at)
            IS DISTINCT FROM (excluded.points, excluded.contact_id, excluded.occurred_at)
        """,
        matched=matches(workspace_id, evaluators, source),
        scope=scope,
        workspace_id=workspace_id,
        rule_ids=array(evaluator.rule.id for evaluator in evaluators),
        active=array(evaluator.rule.active for evaluator in evaluators),
        evaluates_from=[evaluator.evaluates_from for evaluator in evaluators],
        points=array_of_decimals(evaluator.rule.points for evaluator in evaluators),
        max_depth=MAX_DEPTH,
        now=now,
    )
    execute(statement)


def recalculate_ledger(
    workspace_id: UUID, contact_ids: Sequence[UUID], rules: Sequence[ScoringRule], now: datetime
) -> None:
    """Recalculate the rule scores of contacts from the ledger. Where points merely add up, every entry counts."""
    ordered = {rule.id: rule for rule in rules if not rule.terms.are_plain}
    ledger = entries_of(workspace_id, contact_ids, ordered)
    settled = [
        recalculate_entries(ordered[rule_id], entries, now) for (_, rule_id), entries in ledger.items()
    ]
    in_scope = {
        "workspace_id": workspace_id,
        "contact_id__in": contact_ids,
        "rule_id__in": [rule.id for rule in rules],
    }
    kept = {(change.contact_id, change.rule.id) for change in settled}
    stale = [
        row_id
        for row_id, contact_id, rule_id in RuleScore.objects.filter(**in_scope).values_list(
            "id", "contact_id", "rule_id"
        )
        if (contact_id, rule_id) not in kept
    ]
    RuleScore.objects.in_workspace(workspace_id).filter(id__in=stale).delete()
    plain = [rule.id for rule in rules if rule.terms.are_plain]
    ScoreEntry.objects.filter(**{**in_scope, "rule_id__in": plain}, is_superseded=True).update(
        is_superseded=False
    )
    mark_entries(workspace_id, [(change.rule.id, change.marks) for change in settled])
    write_rule_scores(workspace_id, settled)
    schedule_decay(workspace_id, settled, now)


_SUMS = """
SELECT c.contact_id, sum(part.points) AS points
FROM unnest(%s::uuid[]) AS c (contact_id)
CROSS JOIN LATERAL (
    SELECT CASE WHEN s.is_superseded OR r.id IS NOT NULL THEN 0 ELSE s.points END AS points
    FROM scoring_scoreentry s
    LEFT JOIN scoring_rulescore r ON r.workspace_id = %s AND r.contact_id = c.contact_id AND r.rule_id = s.rule_id
    WHERE s.workspace_id = %s AND s.contact_id = c.contact_id
    UNION ALL
    SELECT included FROM scoring_rulescore WHERE workspace_id = %s AND contact_id = c.contact_id
) part
GROUP BY c.contact_id
"""


def sum_up(workspace_id: UUID, contact_ids: Sequence[UUID], now: datetime) -> set[UUID]:
    """Set scores to the sums of their rules. Without entries there is no score."""
    rows = fetch_all(
        f"""
            WITH sums AS MATERIALIZED ({_SUMS}), gone AS (
                DELETE FROM contacts_contactscore WHERE workspace_id = %s AND contact_id = ANY(%s)
                    AND contact_id NOT IN (SELECT contact_id FROM sums) RETURNING contact_id
            ), written AS (
                INSERT INTO contacts_contactscore AS s (id, workspace_id, contact_id, points, updated_at)
                SELECT gen_random_uuid(), %s, contact_id, points, %s FROM sums ORDER BY contact_id
                ON CONFLICT (workspace_id, contact_id) DO UPDATE
                SET points = excluded.points, updated_at = excluded.updated_at
                WHERE s.points <> excluded.points RETURNING contact_id
            )
            SELECT contact_id FROM gone UNION ALL SELECT contact_id FROM written
            """,
        [
            list(contact_ids),
            workspace_id,
            workspace_id,
            workspace_id,
            workspace_id,
            list(contact_ids),
            workspace_id,
            now,
        ],
    )
    return {contact_id for (contact_id,) in rows}


RESCORES: Final = LaneBackfill(RESCORES_PATH, _rescore_batch)
"""Rules that are re-scored over all contacts."""
