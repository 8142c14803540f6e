"""Consistency check: find accepted events that are not stored, and effects that did not follow.

Read-only and without locks. Events within the grace period may still be under way and are not reported.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any, Final
from uuid import UUID

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Count

from campaigns.journeys.definition.triggers import EventTrigger
from campaigns.journeys.plans import definition_of
from campaigns.models import Campaign, CampaignSet, CampaignVersion, Decision, Enrollment, Message
from config.db.plans import hashed_lists
from config.db.statements import fetch_all
from config.ids import NO_ID, parse_uuid
from contacts.erasure.erasures import being_erased
from events.models import Event, EventBatch, IdempotencyKey, ParkedEffect
from events.names import MESSAGE_SENT
from events.rules.event_matching import EventRule, given_events, matches
from scoring.rescoring import canonical_contacts
from scoring.verification import verify_contacts
from segments.verification import verify_segments

_BATCH_SIZE: Final = 1_000
# A version's activation may commit this much later than its time says.
_ACTIVATION_MARGIN: Final = timedelta(seconds=5)
_ENTRY_KINDS: Final = (Decision.Kind.ENTERED, Decision.Kind.NOT_ENTERED)


@dataclass(frozen=True, slots=True)
class Inconsistency:
    """A row that is missing, duplicated or stuck."""

    check: str
    description: str

    def __str__(self) -> str:
        return f"{self.check}: {self.description}"


@dataclass(slots=True)
class ConsistencyReport:
    """Counts of rows checked and of inconsistencies; each of these is passed to `report` when found."""

    report: Callable[[Inconsistency], object]
    counts: Counter[str] = field(default_factory=Counter)
    inconsistencies: int = 0

    def add(self, check: str, description: object) -> None:
        """Count and report an inconsistency."""
        self.inconsistencies += 1
        self.report(Inconsistency(check, str(description)))


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is checked: a workspace, up to a moment, but for contacts that are being erased."""

    workspace_id: UUID
    due: datetime
    gone: Sequence[UUID]
    accepted: Iterable[UUID]


Check = Callable[[ConsistencyReport, _Scope], None]


def check_consistency(
    workspace_id: UUID,
    *,
    now: datetime,
    grace: timedelta,
    report: Callable[[Inconsistency], object],
    accepted: Iterable[UUID] = (),
    checks: Sequence[Check] | None = None,
) -> ConsistencyReport:
    """Compare accepted events with the stream, and that with scores, segments, enrollments and messages.

    `accepted`: event ids that clients got, besides those in saved idempotent responses. Reads in batches of
    a thousand rows, whatever the size of the workspace. Contacts being erased are skipped. `checks`: some of CHECKS.
    """
    audit = ConsistencyReport(report)
    scope = _Scope(workspace_id, now - grace, being_erased(workspace_id), accepted)
    for check in CHECKS if checks is None else checks:
        check(audit, scope)
    return audit


def _accepted(audit: ConsistencyReport, workspace_id: UUID, event_ids: Iterable[UUID]) -> None:
    """Find accepted events that are not in the stream."""
    given = chain(event_ids, _event_ids_in_saved_responses(workspace_id))
    # Duplicates are removed only within a batch; an event in two responses may count twice.
    while chunk := list(set(islice(given, _BATCH_SIZE))):
        audit.counts["accepted"] += len(chunk)
        _report_rows(
            audit, "accepted, not stored", _MISSING_EVENTS, [chunk, workspace_id, min(chunk), max(chunk)]
        )
    audit.counts["message keys"] += _count(
        "SELECT count(*) FROM events_messagekey WHERE workspace_id = %s", [workspace_id]
    )
    _report_rows(audit, "message key, not stored", _MISSING_KEY_EVENTS, [workspace_id, workspace_id])
    audit.counts["stored"] += Event.objects.in_workspace(workspace_id).count()


def _event_ids_in_saved_responses(workspace_id: UUID) -> Iterator[UUID]:
    """Yield the event ids in saved idempotent responses."""
    answers = IdempotencyKey.objects.in_workspace(workspace_id).order_by("key")
    after = ""
    while chunk := list(answers.filter(key__gt=after).values_list("key", "status", "body")[:_BATCH_SIZE]):
        for _, status, body in chunk:
            if 200 <= status < 300 and body:
                yield from _event_ids_in(orjson.loads(bytes(body)))
        after = chunk[-1][0]


def _event_ids_in(response: Any) -> Iterator[UUID]:
    """Yield the ids of objects with an id and a time: every format renders events so."""
    if isinstance(response, list):
        for item in response:
            yield from _event_ids_in(item)
    elif isinstance(response, dict):
        if ("timestamp" in response or "occurredAt" in response) and (
            event_id := parse_uuid(response.get("id"))
        ):
            yield event_id
        for item in response.values():
            yield from _event_ids_in(item)


def _batches(audit: ConsistencyReport, workspace_id: UUID, due: datetime) -> None:
    """Find events whose effects are overdue."""
    for batch in EventBatch.objects.in_workspace(workspace_id).iterator(_BATCH_SIZE):
        audit.counts["waiting"] += len(batch.event_ids)
        if batch.created_at < due:
            audit.add("effects overdue", f"{len(batch.event_ids)} events wait since {batch.created_at:%F %T}")


def _parked(audit: ConsistencyReport, workspace_id: UUID, due: datetime) -> None:
    for row in ParkedEffect.objects.in_workspace(workspace_id).iterator(_BATCH_SIZE):
        audit.counts["parked"] += 1
        audit.add("parked", f"{row.effect} of {row.subject}: {row.error.partition(':')[0]}")


def _decisions(audit: ConsistencyReport, workspace_id: UUID, due: datetime) -> None:
    """Find events that an active campaign has a trigger for but no decision about."""
    versions = CampaignVersion.objects.in_workspace(workspace_id).filter(
        campaign__workspace_id=workspace_id, campaign__status=Campaign.Status.ACTIVE, campaign__parked_at=None
    )
    for version in versions.filter(id__in=_active_version_ids(workspace_id)).select_related("campaign"):
        triggers = [item for item in definition_of(version).triggers if isinstance(item, EventTrigger)]
        names = {item.event_name for item in triggers}
        since = (
            max(version.created_at, version.campaign.activated_at or version.created_at) + _ACTIVATION_MARGIN
        )
        parameters = [*[workspace_id] * 3, list(names), since, due, workspace_id]
        sets = CampaignSet.objects.in_workspace(workspace_id).containing(version.campaign_id)
        parameters += [list(_ENTRY_KINDS), version.campaign_id, sets.ids()]
        with transaction.atomic(), hashed_lists():
            undecided = [(name, event_id) for event_id, name in _rows(_UNDECIDED_EVENTS, parameters)]
        for name, event_id in _relevant_events(workspace_id, triggers, undecided):
            audit.add("event without decision", f"{version.campaign}: {name} {event_id}")
    audit.counts["decisions"] += Decision.objects.in_workspace(workspace_id).count()


def _relevant_events(
    workspace_id: UUID, triggers: Sequence[EventTrigger], events: Sequence[tuple[str, UUID]]
) -> Iterator[tuple[str, UUID]]:
    """Yield the events (name, id) that pass a relevance rule: campaigns record no decision about others."""
    for name in dict.fromkeys(name for name, _ in events):
        own = [item.relevance_rule for item in triggers if item.event_name == name]
        ids = [event_id for of_name, event_id in events if of_name == name]
        rules = [EventRule(rule) for rule in own if rule is not None]
        if len(rules) < len(own):
            yield from ((name, event_id) for event_id in ids)
            continue
        for start in range(0, len(ids), _BATCH_SIZE):
            batch_ids = ids[start : start + _BATCH_SIZE]
            # Relevance rules do not read the contact.
            matched = matches(
                workspace_id, rules, given_events(workspace_id, batch_ids, [NO_ID] * len(batch_ids))
            )
            about = {row[0] for row in fetch_all(matched)}
            yield from ((name, event_id) for event_id in batch_ids if event_id in about)


def _active_version_ids(workspace_id: UUID) -> list[UUID]:
    rows = Campaign.objects.in_workspace(workspace_id).exclude(active_version=None)
    return [version for version in rows.values_list("active_version_id", flat=True) if version]


def _enrollments(audit: ConsistencyReport, workspace_id: UUID, due: datetime, gone: Sequence[UUID]) -> None:
    """Find overdue enrollments, and enrollments and decisions without each other."""
    audit.counts["enrollments"] += Enrollment.objects.in_workspace(workspace_id).count()
    running = Enrollment.objects.in_workspace(workspace_id).open().exclude(contact_id__in=gone)
    running = running.filter(campaign__status=Campaign.Status.ACTIVE, campaign__parked_at=None)
    for enrollment in running.due(due).iterator(_BATCH_SIZE):
        audit.add(
            "stuck", f"enrollment {enrollment.pk} at {enrollment.step} since {enrollment.wake_at:%F %T}"
        )
    for enrollment in running.filter(wake_at=None, awaited_event="", started_at__lt=due).iterator(
        _BATCH_SIZE
    ):
        audit.add("stuck", f"enrollment {enrollment.pk} at {enrollment.step} waits for nothing")
    entered = [workspace_id, Decision.Kind.ENTERED]
    _report_rows(
        audit,
        "enrollment without decision",
        _ENROLLMENTS_WITHOUT_DECISION,
        [workspace_id, gone, due, *entered],
    )
    _report_rows(
        audit, "decision without enrollment", _DECISIONS_WITHOUT_ENROLLMENT, [*entered, gone, workspace_id]
    )


def _messages(audit: ConsistencyReport, workspace_id: UUID, due: datetime, gone: Sequence[UUID]) -> None:
    """Find overdue messages, and sent ones without exactly one event."""
    messages = Message.objects.in_workspace(workspace_id)
    for status, count in messages.order_by().values_list("status").annotate(count=Count("pk")):
        audit.counts[f"messages {status.lower()}"] += count
    held = Campaign.objects.in_workspace(workspace_id).exclude(status=Campaign.Status.ACTIVE)
    leaving = messages.exclude(contact_id__in=gone)
    ready = leaving.ready(due).exclude(campaign_id__in=held.exclude(status=Campaign.Status.COMPLETED))
    for message in ready.iterator(_BATCH_SIZE):
        audit.add("not sent", f"message {message.pk} since {message.send_at:%F %T}")
    claimed = due - timedelta(seconds=settings.DELIVERY_CLAIM_SECONDS)
    taken = leaving.filter(status=Message.Status.SENDING, claimed_at__lt=claimed)
    for message in taken.iterator(_BATCH_SIZE):
        audit.add("claim expired", f"message {message.pk} since {message.claimed_at:%F %T}")
    _report_rows(
        audit, "message without enrollment", _MESSAGES_WITHOUT_ENROLLMENT, [workspace_id, gone, workspace_id]
    )
    _report_rows(audit, "sent without one event", _SENT_EVENT_COUNTS, [workspace_id, workspace_id, gone, due])


def _scores(audit: ConsistencyReport, workspace_id: UUID) -> None:
    after = NO_ID
    while chunk := canonical_contacts(workspace_id, after, _BATCH_SIZE):
        audit.counts["contacts"] += len(chunk)
        for item in verify_contacts(workspace_id, chunk):
            audit.add("score", item)
        after = chunk[-1]


def _segments(audit: ConsistencyReport, workspace_id: UUID, gone: Sequence[UUID]) -> None:
    found = verify_segments(workspace_id)
    audit.counts["segments"] += found.segments
    for item in found.differences:
        if item.contact_id not in gone:
            audit.add("membership", f"segment {item.segment_id}: contact {item.contact_id} {item.kind}")


def _report_rows(audit: ConsistencyReport, check: str, sql: str, parameters: Sequence[Any]) -> None:
    for row in _rows(sql, parameters):
        audit.add(check, row[0])


def _count(sql: str, parameters: Sequence[Any]) -> int:
    ((count,),) = _rows(sql, parameters)
    return int(count)


def _rows(sql: str, parameters: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield a query's rows through a server-side cursor."""
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, parameters)
        while rows := cursor.fetchmany(_BATCH_SIZE):
            yield from rows


# OFFSET 0 forces a look-up by key for each row: without statistics, the planner may choose a nested loop over
# whole tables.
_MISSING_EVENTS: Final = """
SELECT given.id FROM unnest(%s::uuid[]) AS given (id)
WHERE NOT EXISTS (
    SELECT FROM events_event e WHERE e.workspace_id = %s AND e.id = given.id AND e.id BETWEEN %s AND %s OFFSET 0
)
"""

_MISSING_KEY_EVENTS: Final = """
SELECT k.key FROM events_messagekey k
WHERE k.workspace_id = %s AND NOT EXISTS (
    SELECT FROM events_event e WHERE e.workspace_id = %s AND e.id = k.event_id OFFSET 0
)
"""

# Events that were cut off from a loop, and those still to be processed, are not reported.
_UNDECIDED_EVENTS: Final = """
WITH waiting AS MATERIALIZED (
    SELECT unnest(event_ids) AS id FROM events_eventbatch WHERE workspace_id = %s
    UNION SELECT unnest(event_ids) FROM events_parkedeffect WHERE workspace_id = %s
)
SELECT e.id, e.name FROM events_event e
WHERE e.workspace_id = %s AND e.name = ANY(%s) AND e.received_at BETWEEN %s AND %s
    AND EXISTS (
        SELECT FROM contacts_contact c WHERE c.workspace_id = e.workspace_id AND c.id = e.contact_id OFFSET 0
    )
    AND NOT e.properties ? 'loopCut'
    AND e.id NOT IN (SELECT id FROM waiting)
    AND NOT EXISTS (
        SELECT FROM campaigns_decision d
        WHERE d.workspace_id = %s AND d.event_id = e.id AND d.kind = ANY(%s)
            AND (d.campaign_id = %s OR d.campaign_set_id = ANY(%s)) OFFSET 0
    )
ORDER BY e.id
"""

_ENROLLMENTS_WITHOUT_DECISION: Final = """
SELECT r.id FROM campaigns_enrollment r
WHERE r.workspace_id = %s AND NOT r.contact_id = ANY(%s::uuid[]) AND r.started_at < %s AND NOT EXISTS (
    SELECT FROM campaigns_decision d WHERE d.workspace_id = %s AND d.enrollment_id = r.id AND d.kind = %s OFFSET 0
)
"""

_DECISIONS_WITHOUT_ENROLLMENT: Final = """
SELECT d.id FROM campaigns_decision d
WHERE d.workspace_id = %s AND d.kind = %s AND NOT d.contact_id = ANY(%s::uuid[]) AND NOT EXISTS (
    SELECT FROM campaigns_enrollment r WHERE r.workspace_id = %s AND r.id = d.enrollment_id OFFSET 0
)
"""

_MESSAGES_WITHOUT_ENROLLMENT: Final = """
SELECT m.id FROM campaigns_message m
WHERE m.workspace_id = %s AND NOT m.contact_id = ANY(%s::uuid[]) AND m.enrollment_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM campaigns_enrollment r WHERE r.workspace_id = %s AND r.id = m.enrollment_id OFFSET 0
)
"""

_SENT_EVENT_COUNTS: Final = f"""
SELECT m.id FROM campaigns_message m LEFT JOIN (
    SELECT e.properties ->> 'messageId' AS message_id, count(*) AS times FROM events_event e
    WHERE e.workspace_id = %s AND e.name = '{MESSAGE_SENT}' AND e.source = 'system' GROUP BY 1
) sent ON sent.message_id = m.id::text
WHERE m.workspace_id = %s AND NOT m.contact_id = ANY(%s::uuid[]) AND m.sent_at < %s AND NOT m.is_test
    AND sent.times IS DISTINCT FROM 1
"""


CHECKS: Final[Sequence[Check]] = (
    lambda audit, scope: _batches(audit, scope.workspace_id, scope.due),
    lambda audit, scope: _parked(audit, scope.workspace_id, scope.due),
    lambda audit, scope: _decisions(audit, scope.workspace_id, scope.due),
    lambda audit, scope: _enrollments(audit, scope.workspace_id, scope.due, scope.gone),
    lambda audit, scope: _messages(audit, scope.workspace_id, scope.due, scope.gone),
    lambda audit, scope: _accepted(audit, scope.workspace_id, scope.accepted),
    lambda audit, scope: _scores(audit, scope.workspace_id),
    lambda audit, scope: _segments(audit, scope.workspace_id, scope.gone),
)
