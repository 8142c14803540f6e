"""Contacts, scores and messages of others as they were at each moment of a rehearsal.

Each is set to what it was at the beginning, and follows its history from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import orjson

from campaigns.models import Message
from campaigns.rehearsal.session import HISTORY, KNOWN_AT, SCORES, live_schema, show_contacts
from config import ids
from config.db.arrays import array
from config.db.backfill import BATCH_ROWS
from config.db.statements import execute, fetch_all
from events.id_bounds import first_id_of_events
from events.names import (
    CONTACT_SUBSCRIBED,
    CONTACT_TAGGED,
    CONTACT_UNSUBSCRIBED,
    CONTACT_UPDATED,
)
from scoring.history import score_histories

_BATCH: Final = 1_000


Statement = tuple[str, list[Any]]
"""SQL and its parameters."""


class History(Protocol):
    """Something that changes as time passes."""

    def changes_until(self, until: datetime) -> Iterator[Statement]:
        """Go on to a moment, inclusive, and yield what writes the changes since."""


def advance(histories: Iterable[History], until: datetime) -> list[Statement]:
    """Go on to a moment, inclusive. Returns what writes the changes since."""
    return [statement for history in histories for statement in history.changes_until(until)]


@dataclass(slots=True)
class ContactHistory:
    """Contacts as their `contact.*` events tell: rewound to `since`, then changed as these say.

    Who was erased is not there; merges count as of now. A contact whose events are older than itself was imported:
    when its facts came to be is not known, and it is as it is now.
    """

    workspace_id: UUID
    changes: list[tuple[datetime, UUID, str, Mapping[str, Any]]]
    position: int = 0
    # How many were imported.
    imported: int = 0

    @classmethod
    def load(cls, workspace_id: UUID, contact_ids: Sequence[UUID], since: datetime) -> ContactHistory:
        """Copy contacts into the session as they were at `since`."""
        history = cls(workspace_id, [])
        for start in range(0, len(contact_ids), _BATCH):
            batch = contact_ids[start : start + _BATCH]
            show_contacts(workspace_id, batch)
            imported = {contact_id for (contact_id,) in fetch_all(_IMPORTED, [workspace_id, batch])}
            history.imported += len(imported)
            found = fetch_all(
                f"SELECT {KNOWN_AT} AS at, e.contact_id, e.name, e.properties FROM {live_schema()}.events_event e"
                " WHERE e.workspace_id = %s AND e.contact_id = ANY(%s) AND e.source = 'system'"
                " AND e.name = ANY(%s) AND e.id >= %s AND e.occurred_at >= %s",
                [workspace_id, batch, list(_CHANGES), first_id_of_events(since), since],
            )
            history.changes += [
                (at, contact_id, name, orjson.loads(properties))
                for at, contact_id, name, properties in found
                if contact_id not in imported
            ]
        history.changes.sort(key=lambda change: change[0])
        for _, contact_id, name, properties in reversed(history.changes):
            new, old = properties.get("new") or {}, properties.get("old") or {}
            for statement in _statements(workspace_id, contact_id, name, new, old):
                execute(*statement)
        return history

    def changes_until(self, until: datetime) -> Iterator[Statement]:
        """Go on to a moment, inclusive, and yield what writes the changes since."""
        while self.position < len(self.changes) and self.changes[self.position][0] <= until:
            _, contact_id, name, properties = self.changes[self.position]
            self.position += 1
            old, new = properties.get("old") or {}, properties.get("new") or {}
            yield from _statements(self.workspace_id, contact_id, name, old, new)


_IMPORTED: Final = f"""
SELECT c.id FROM contacts_contact c
JOIN (SELECT contact_id, min(known_at) AS first_at FROM {HISTORY} GROUP BY contact_id) h
    ON h.contact_id = COALESCE(c.merged_into_id, c.id)
WHERE c.workspace_id = %s AND c.id = ANY (%s) AND c.created_at > h.first_at + interval '1 hour'
"""
_CONSENT_CHANGES: Final = (CONTACT_SUBSCRIBED, CONTACT_UNSUBSCRIBED)
_CHANGES: Final = (CONTACT_UPDATED, CONTACT_TAGGED, *_CONSENT_CHANGES)


def _statements(
    workspace_id: UUID, contact_id: UUID, name: str, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[Statement]:
    """Yield what changes a contact from `old` to `new`: the keys are those of a ContactChange."""
    who = [workspace_id, contact_id]
    if name in (CONTACT_SUBSCRIBED, CONTACT_UNSUBSCRIBED):
        channel = new.get("channel") or old.get("channel")
        yield (
            "DELETE FROM contacts_consent WHERE workspace_id = %s AND contact_id = %s AND channel = %s",
            [
                *who,
                channel,
            ],
        )
        if status := new.get("status"):
            yield (
                "INSERT INTO contacts_consent (id, workspace_id, contact_id, channel, status, changed_at)"
                " VALUES (%s, %s, %s, %s, %s, now())",
                [ids.uuid7(), *who, channel, status],
            )
        return
    for column in ("first_name", "last_name"):
        if column in old or column in new:
            yield (
                f"UPDATE contacts_contact SET {column} = %s WHERE workspace_id = %s AND id = %s",
                [new.get(column) or "", *who],
            )
    if "attributes" in old or "attributes" in new:
        # What is null in `new` was not there, or is gone.
        values = {key: value for key, value in (new.get("attributes") or {}).items() if value is not None}
        names = [*(old.get("attributes") or {}), *(new.get("attributes") or {})]
        yield (
            "UPDATE contacts_contact SET attributes = (attributes - %s::text[]) || %s::jsonb"
            " WHERE workspace_id = %s AND id = %s",
            [names, orjson.dumps(values).decode(), *who],
        )
    yield from _tag_statements(who, old.get("tags") or [], new.get("tags") or [])
    yield from _identifier_statements(who, old, new)


def _tag_statements(who: list[UUID], old: Sequence[str], new: Sequence[str]) -> Iterator[Statement]:
    if old:
        yield (
            "DELETE FROM contacts_contacttag h USING contacts_tag t WHERE h.workspace_id = %s"
            " AND h.contact_id = %s AND t.workspace_id = h.workspace_id AND t.id = h.tag_id AND t.name = ANY(%s)",
            [*who, list(old)],
        )
    for tag in new:
        yield (
            "INSERT INTO contacts_contacttag (id, workspace_id, contact_id, tag_id, created_at)"
            " SELECT %s, %s, %s, t.id, now() FROM contacts_tag t WHERE t.workspace_id = %s AND t.name = %s"
            " ON CONFLICT DO NOTHING",
            [ids.uuid7(), *who, who[0], tag],
        )


def _identifier_statements(
    who: list[UUID], old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[Statement]:
    for identifier in old.get("identifiers") or ():
        yield (
            "DELETE FROM contacts_identifier WHERE workspace_id = %s AND contact_id = %s AND kind = %s"
            " AND value = %s",
            [*who, identifier["kind"], identifier["value"]],
        )
    for identifier in new.get("identifiers") or ():
        yield (
            "INSERT INTO contacts_identifier (id, workspace_id, contact_id, kind, value, is_primary, created_at)"
            " VALUES (%s, %s, %s, %s, %s, false, now()) ON CONFLICT DO NOTHING",
            [ids.uuid7(), *who, identifier["kind"], identifier["value"]],
        )
    kinds = {
        key
        for key in (*old, *new)
        if key not in ("first_name", "last_name", "attributes", "identifiers", "tags", "company")
    }
    for kind in kinds:
        yield (
            "UPDATE contacts_identifier SET is_primary = false WHERE workspace_id = %s AND contact_id = %s"
            " AND kind = %s AND is_primary",
            [*who, kind],
        )
        if primary := new.get(kind):
            yield (
                "UPDATE contacts_identifier SET is_primary = true WHERE workspace_id = %s AND contact_id = %s"
                " AND kind = %s AND value = %s",
                [*who, kind, primary],
            )


def show_scores(workspace_id: UUID, contact_ids: Sequence[UUID], since: datetime, until: datetime) -> None:
    """Have contacts' scores follow their ledger, by what is known now, from `since` until `until`."""
    for start in range(0, len(contact_ids), _BATCH):
        batch = contact_ids[start : start + _BATCH]
        found = score_histories(workspace_id, batch, since=since, until=until)
        rows = [
            (contact_id, moment, score)
            for contact_id, history in found.items()
            for moment, score in zip(history.moments, history.scores, strict=True)
        ]
        for place in range(0, len(rows), BATCH_ROWS):
            columns = zip(*rows[place : place + BATCH_ROWS], strict=True)
            execute(_ADD_SCORES, [list(column) for column in columns])


_ADD_SCORES: Final = (
    f"INSERT INTO {SCORES} (contact_id, at, points)"
    " SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::numeric[])"
)


@dataclass(slots=True)
class SentMessageHistory:
    """Messages that left in the meantime, of other campaigns and of the API: they count for the caps."""

    workspace_id: UUID
    sent: list[tuple[datetime, UUID]]
    position: int = 0

    @classmethod
    def load(
        cls,
        workspace_id: UUID,
        campaign_id: UUID,
        contact_ids: Sequence[UUID],
        since: datetime,
        until: datetime,
        window: timedelta,
    ) -> SentMessageHistory:
        """Look up the messages that left from a cap's `window` before `since` until `until`."""
        sent: list[tuple[datetime, UUID]] = []
        table = f"{live_schema()}.{Message._meta.db_table}"
        for start in range(0, len(contact_ids), _BATCH):
            sent += fetch_all(
                f"SELECT sent_at, id FROM {table} WHERE workspace_id = %s AND contact_id = ANY(%s)"
                " AND sent_at > %s AND sent_at < %s AND campaign_id IS DISTINCT FROM %s"
                " AND NOT is_test AND NOT is_transactional",
                [workspace_id, contact_ids[start : start + _BATCH], since - window, until, campaign_id],
            )
        return cls(workspace_id, sorted(sent))

    def changes_until(self, until: datetime) -> Iterator[Statement]:
        """Go on to a moment, inclusive, and yield what shows the messages that left since."""
        start = self.position
        while self.position < len(self.sent) and self.sent[self.position][0] <= until:
            self.position += 1
        if start < self.position:
            table = Message._meta.db_table
            yield (
                f"INSERT INTO {table} SELECT * FROM {live_schema()}.{table}"
                " WHERE workspace_id = %s AND id = ANY(%s::uuid[])",
                [self.workspace_id, array([id_ for _, id_ in self.sent[start : self.position]])],
            )
