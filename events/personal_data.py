"""Personal data of the stream: how events and what is kept of them are erased and exported."""

from collections.abc import Sequence
from uuid import UUID

from config.db.statements import execute, fetch_all
from contacts.erasure.erasures import DataSubject, PersonalDataSource, Removed
from events.models import ContactAggregate, Event, ParkedEffect, Timer
from events.names import CONTACT_MERGED, CONTACT_UNMERGED
from events.stream.quarantine import purge_refused_of


def _erase_first(person: DataSubject) -> Removed:
    """Delete what refers to the person's events, and what others' rows have of the person."""
    return {
        "idempotencyKeys": _purge_identifier_keys(person),
        "idempotencyAnswers": _blank_answers(person),
        "parkedEffects": _clean_parked(person),
        "refusedEvents": _purge_refused(person),
        "eventsOfOthers": _purge_merge_events(person),
    }


def _blank_answers(person: DataSubject) -> int:
    """Empty stored answers that mention the person; their Idempotency-Keys stay, or a retry would repeat
    others' events.
    """
    # As texts of JSON: an identifier may be as short as a digit.
    texts = [*map(str, person.contact_ids), *(f'"{value}"' for _, value in person.identifiers)]
    return execute(_ANSWERS, [person.workspace_id, person.since, person.since, texts])


def _purge_identifier_keys(person: DataSubject) -> int:
    """Delete keys that are made of the person's identifiers."""
    if not person.words:
        return 0
    return execute(_NAMED_KEYS, [person.workspace_id, [word.lower() for word in person.words]])


def _clean_parked(person: DataSubject) -> int:
    """Take the person's events out of parked effects, with the error text, which may quote them."""
    left: dict[UUID, Sequence[UUID]] = dict(
        fetch_all(_PARKED, [person.workspace_id, list(person.contact_ids), person.workspace_id])
    )
    parked = ParkedEffect.objects.in_workspace(person.workspace_id)
    for row in parked.filter(id__in=left):
        row.event_ids = list(left[row.id] or ())
        row.error = row.error.partition(":")[0]
        if row.event_ids:
            row.save(update_fields=["event_ids", "error"])
        else:
            row.delete()
    subjects = 0
    for contact_id in person.contact_ids:
        subjects += parked.filter(subject__endswith=f":{contact_id}").delete()[0]
    return len(left) + subjects


def _purge_refused(person: DataSubject) -> int:
    """Delete refused events that mention the person."""
    return purge_refused_of(person.workspace_id, person.contact_ids, person.identifiers, person.since)


def _purge_merge_events(person: DataSubject) -> int:
    """Delete other contacts' events about merges with the person and their undoing."""
    if not person.merge_ids:
        return 0
    merge_ids = [str(merge_id) for merge_id in person.merge_ids]
    return execute(_MERGES, [person.workspace_id, merge_ids, list(person.contact_ids)])


def _purge_message_keys(workspace_id: UUID, event_ids: Sequence[UUID]) -> Removed:
    """Delete the message keys of the person's events."""
    bounds = [min(event_ids), max(event_ids)]
    return {"messageKeys": execute(_MESSAGE_KEYS, [workspace_id, workspace_id, list(event_ids), *bounds])}


_ANSWERS = """
UPDATE events_idempotencykey SET body = '{}'
WHERE workspace_id = %s AND (%s::timestamptz IS NULL OR created_at >= %s::timestamptz) AND body <> '{}'
    AND EXISTS (
        SELECT FROM unnest(%s::text[]) AS one (text)
        WHERE position(lower(one.text) IN lower(convert_from(body, 'UTF8'))) > 0
    )
"""

_NAMED_KEYS = """
DELETE FROM events_idempotencykey
WHERE workspace_id = %s AND EXISTS (
    SELECT FROM unnest(%s::text[]) AS one (word) WHERE position(one.word IN lower(key)) > 0
)
"""

_MESSAGE_KEYS = """
DELETE FROM events_messagekey k USING events_event e
WHERE k.workspace_id = %s AND k.key = e.message_id AND k.event_id = e.id
    AND e.workspace_id = %s AND e.id = ANY(%s) AND e.id BETWEEN %s AND %s AND e.message_id <> ''
"""

_PARKED = """
SELECT p.id, array_agg(one.id) FILTER (WHERE e.id IS NULL)
FROM events_parkedeffect p CROSS JOIN LATERAL unnest(p.event_ids) AS one (id)
LEFT JOIN events_event e ON e.workspace_id = %s AND e.id = one.id AND e.contact_id = ANY(%s)
WHERE p.workspace_id = %s
GROUP BY p.id HAVING count(e.id) > 0
"""

_MERGES = f"""
DELETE FROM events_event
WHERE workspace_id = %s AND name IN ('{CONTACT_MERGED}', '{CONTACT_UNMERGED}') AND source = 'system'
    AND properties #>> '{{new,merge_id}}' = ANY(%s) AND NOT contact_id = ANY(%s)
"""

PERSONAL_DATA = PersonalDataSource(
    {"events": Event, "aggregates": ContactAggregate, "timers": Timer},
    erase_first=_erase_first,
    erase_with={"events": _purge_message_keys},
)
