"""Write changed contacts, any number of them in a fixed number of statements."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final
from uuid import UUID

import orjson
from django.db import connection

from config import clock
from config.db.arrays import array
from config.ids import uuid7
from contacts.identifiers import Identification
from contacts.models import Contact
from contacts.profiles.state import ContactDraft, changes_of
from contacts.signals import contacts_changed


class WriteConflict(Exception):  # not an error: the caller starts again
    """Somebody else took these identifiers, or changed the contacts, in this very moment."""

    def __init__(self, taken: Sequence[Identification] = ()) -> None:
        super().__init__(taken)
        self.taken = taken


def write(workspace_id: UUID, drafts: Iterable[ContactDraft]) -> None:
    """Write the dirty ones of `drafts` and publish the changes; existing contacts must be locked.

    Whoever writes takes locks in this order: contacts by id, identifiers by kind and value, tags by name.
    Raises WriteConflict if an identifier is taken: the caller has to roll back.
    """
    dirty = [draft for draft in drafts if draft.is_dirty]
    if not dirty:
        return
    now = clock.now()
    _insert_contacts(workspace_id, [draft for draft in dirty if draft.before is None], now)
    _release_moved_identifiers(workspace_id, dirty)
    _insert_identifiers(workspace_id, dirty, now)
    _rearrange_identifiers(workspace_id, [draft for draft in dirty if draft.before is not None])
    _update_contacts(workspace_id, [draft for draft in dirty if draft.before is not None], now)
    _write_tags(workspace_id, dirty, now)
    _write_consents(workspace_id, dirty)
    publish(workspace_id, dirty)


def create(workspace_id: UUID, drafts: Sequence[ContactDraft]) -> set[UUID]:
    """Make new contacts with all that hangs on them in one statement; the caller publishes them.

    Returns those of which somebody else has an identifier: of them nothing is written, but nobody else gets their
    other identifiers before the end of the transaction, or a return to a savepoint.
    """
    now = clock.now()
    identifiers = _new_identifiers(drafts)
    links = [(draft.id, tag) for draft in drafts for tag in draft.after.tags]
    columns = {
        **_columns(
            [(*_own_columns(draft), len(draft.after.identifiers)) for draft in drafts],
            ("ids", "first_names", "last_names", "attributes", "counts"),
        ),
        **_columns(identifiers, ("kinds", "values", "primary", "contacts", "identifier_ids")),
        **_columns([(uuid7(), tag) for tag in sorted({tag for _, tag in links})], ("word_ids", "words")),
        **_columns(
            [(*link, new_id) for link, new_id in zip(links, _ids(len(links)), strict=True)],
            ("tag_contacts", "tag_names", "tag_ids"),
        ),
        **_columns(
            _new_consents(drafts),
            ("consent_ids", "consent_contacts", "channels", "statuses", "said_at", "are_dated"),
        ),
    }
    ((lost, tagged),) = _run(_CREATE, workspace_id, columns, now)
    if lost:
        _run(_DROP_IDENTIFIERS_OF, workspace_id, {"ids": array(lost)})
        drafts = [draft for draft in drafts if draft.id not in set(lost)]
    if tagged < sum(len(draft.after.tags) for draft in drafts):
        # Somebody has made a tag in this moment: it is seen by the next statement only.
        _write_tags(workspace_id, drafts, now)
    return set(lost or ())


def publish(workspace_id: UUID, drafts: Iterable[ContactDraft]) -> None:
    """Send contacts_changed for what has been written."""
    if changes := [change for draft in drafts for change in changes_of(draft)]:
        contacts_changed.send(sender=Contact, workspace_id=workspace_id, changes=changes)


def _insert_contacts(workspace_id: UUID, drafts: list[ContactDraft], now: datetime) -> None:
    rows = [_own_columns(draft) for draft in drafts]
    if rows:
        _execute(
            _INSERT_CONTACTS, workspace_id, rows, ("ids", "first_names", "last_names", "attributes"), now
        )


def _release_moved_identifiers(workspace_id: UUID, drafts: Sequence[ContactDraft]) -> None:
    """Delete what one of the contacts gives up and another takes at once: the insert would find it taken."""
    taken = {key for draft in drafts for key in draft.added_identifiers}
    moved = [
        (draft.owner_of(key), *key)
        for draft in drafts
        if draft.before is not None
        for key in draft.old.identifiers.keys() - draft.after.identifiers.keys()
        if key in taken
    ]
    if moved:
        _execute(_DROP_IDENTIFIERS, workspace_id, sorted(moved), ("ids", "kinds", "values"))


def _insert_identifiers(workspace_id: UUID, drafts: list[ContactDraft], now: datetime) -> None:
    rows = _new_identifiers(drafts)
    if not rows:
        return
    names = ("kinds", "values", "primary", "contacts", "ids")
    stored = _execute(_INSERT_IDENTIFIERS, workspace_id, rows, names, now)
    if len(stored) < len(rows):
        raise WriteConflict(sorted({(row[0], row[1]) for row in rows} - set(stored)))


def _new_identifiers(drafts: Sequence[ContactDraft]) -> list[tuple[Any, ...]]:
    """Return kind, value, whether primary, contact and new id of what is added, in the order that everybody takes."""
    # A new primary comes in as a secondary while the old one stands: see _rearrange_identifiers.
    added = [
        (kind, value, draft.after.identifiers[kind, value] and draft.old.primary(kind) is None, draft.id)
        for draft in drafts
        for kind, value in draft.added_identifiers
    ]
    return sorted((*row, new_id) for row, new_id in zip(added, _ids(len(added)), strict=True))


def _own_columns(draft: ContactDraft) -> tuple[UUID, str, str, str]:
    return draft.id, draft.after.first_name, draft.after.last_name, _json(draft.after.attributes)


def _rearrange_identifiers(workspace_id: UUID, drafts: list[ContactDraft]) -> None:
    # After the sorted insert, never before it: touching a row makes others wait who insert the same value.
    dropped, demoted, promoted = [], [], []
    for draft in drafts:
        old, new = draft.old, draft.after
        for key, is_primary in new.identifiers.items():
            # A new one of a kind that had no primary one came in as that already.
            if is_primary and not old.identifiers.get(key, old.primary(key[0]) is None):
                promoted.append((draft.owner_of(key), *key))
        # An own primary one goes before those of merged contacts, which therefore stay what they are.
        foreign = {kind for owner, kind, _ in promoted if owner != draft.id}
        for key, was_primary in old.identifiers.items():
            owner = draft.owner_of(key)
            if key not in new.identifiers:
                dropped.append((owner, *key))
            elif not new.identifiers[key] and (key[0] in foreign or (was_primary and owner == draft.id)):
                demoted.append((owner, *key))
    for sql, rows in ((_DROP_IDENTIFIERS, dropped), (_DEMOTE, demoted), (_PROMOTE, promoted)):
        if rows:
            _execute(sql, workspace_id, rows, ("ids", "kinds", "values"))


def _update_contacts(workspace_id: UUID, drafts: list[ContactDraft], now: datetime) -> None:
    rows = [_own_columns(draft) for draft in drafts]
    if rows:
        _execute(
            _UPDATE_CONTACTS, workspace_id, rows, ("ids", "first_names", "last_names", "attributes"), now
        )


def _write_tags(workspace_id: UUID, drafts: Sequence[ContactDraft], now: datetime) -> None:
    put_on = [(d.id, tag) for d in drafts for tag in d.after.tags if tag not in d.old.tags]
    taken_off = [
        (contact_id, tag)
        for d in drafts
        for tag in d.old.tags
        if tag not in d.after.tags
        for contact_id in (d.id, *d.old.merged)
    ]
    if put_on:
        words = [(uuid7(), tag) for tag in sorted({tag for _, tag in put_on})]
        links = [(*link, new_id) for link, new_id in zip(put_on, _ids(len(put_on)), strict=True)]
        _execute(_INSERT_TAGS, workspace_id, words, ("ids", "names"))
        _execute(_TAG_CONTACTS, workspace_id, links, ("contacts", "names", "ids"), now)
    if taken_off:
        _execute(_UNTAG_CONTACTS, workspace_id, taken_off, ("contacts", "names"))


def _write_consents(workspace_id: UUID, drafts: list[ContactDraft]) -> None:
    rows = _new_consents(drafts)
    names = ("ids", "contacts", "channels", "statuses", "said_at", "are_dated")
    if rows:
        _execute(_UPSERT_CONSENTS, workspace_id, rows, names)
    of_merged = {draft.id: draft.old.merged for draft in drafts}
    agreeing = [(merged, *consent) for _, contact_id, *consent in rows for merged in of_merged[contact_id]]
    if agreeing:
        _execute(_UPDATE_CONSENTS, workspace_id, agreeing, names[1:])


def _new_consents(drafts: Sequence[ContactDraft]) -> list[tuple[Any, ...]]:
    """Return id, contact, channel, status, time and whether that is known, of what was said."""
    return [
        (uuid7(), draft.id, channel, status, *draft.after.consent_times[channel])
        for draft in drafts
        for channel, status in draft.after.consents.items()
        if draft.old.consents.get(channel) != status
        or draft.old.consent_times.get(channel) != draft.after.consent_times[channel]
    ]


def _execute(
    sql: str,
    workspace_id: UUID,
    rows: Sequence[tuple[Any, ...]],
    names: tuple[str, ...],
    now: datetime | None = None,
) -> list[tuple[Any, ...]]:
    return _run(sql, workspace_id, _columns(rows, names), now)


def _run(
    sql: str, workspace_id: UUID, parameters: Mapping[str, Any], now: datetime | None = None
) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"workspace": workspace_id, "now": now, **parameters})
        return cursor.fetchall() if cursor.description else []


def _columns(rows: Sequence[tuple[Any, ...]], names: tuple[str, ...]) -> dict[str, str]:
    columns = map(array, zip(*rows, strict=True)) if rows else ("{}" for _ in names)
    return dict(zip(names, columns, strict=True))


def _ids(count: int) -> list[UUID]:
    """Return new ids in their order, which is the order that rows of one moment are listed in."""
    return sorted((uuid7() for _ in range(count)), key=attrgetter("int"))


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


_DROP_IDENTIFIERS: Final = """
DELETE FROM contacts_identifier i
USING unnest(%(ids)s::uuid[], %(kinds)s::varchar[], %(values)s::varchar[]) AS gone (contact_id, kind, value)
WHERE i.workspace_id = %(workspace)s
    AND i.contact_id = gone.contact_id AND i.kind = gone.kind AND i.value = gone.value
"""

_DEMOTE: Final = """
UPDATE contacts_identifier i SET is_primary = false
FROM unnest(%(ids)s::uuid[], %(kinds)s::varchar[], %(values)s::varchar[]) AS other (contact_id, kind, value)
WHERE i.workspace_id = %(workspace)s
    AND i.contact_id = other.contact_id AND i.kind = other.kind AND i.value = other.value
"""

_PROMOTE: Final = _DEMOTE.replace("is_primary = false", "is_primary = true")

_INSERT_CONTACTS: Final = """
INSERT INTO contacts_contact
    (id, workspace_id, first_name, last_name, attributes, created_at, updated_at)
SELECT id, %(workspace)s, first_name, last_name, attributes::jsonb, %(now)s, %(now)s
FROM unnest(
    %(ids)s::uuid[], %(first_names)s::varchar[], %(last_names)s::varchar[], %(attributes)s::text[]
) AS new (id, first_name, last_name, attributes)
"""

_INSERT_IDENTIFIERS: Final = """
INSERT INTO contacts_identifier (id, workspace_id, contact_id, kind, value, is_primary, created_at)
SELECT id, %(workspace)s, contact_id, kind, value, is_primary, %(now)s
FROM unnest(
    %(kinds)s::varchar[], %(values)s::varchar[], %(primary)s::boolean[], %(contacts)s::uuid[], %(ids)s::uuid[]
) WITH ORDINALITY AS new (kind, value, is_primary, contact_id, id, position)
ORDER BY position
ON CONFLICT (workspace_id, kind, value) DO NOTHING
RETURNING kind, value
"""

# The identifiers come first and decide, their foreign keys are checked at the commit; of a contact that lost one,
# those it won are left.
_CREATE: Final = """
WITH drafts AS (
    SELECT * FROM unnest(
        %(ids)s::uuid[], %(first_names)s::varchar[], %(last_names)s::varchar[], %(attributes)s::text[],
        %(counts)s::int[]
    ) AS new (id, first_name, last_name, attributes, identifiers)
), won AS (
    INSERT INTO contacts_identifier (id, workspace_id, contact_id, kind, value, is_primary, created_at)
    SELECT id, %(workspace)s, contact_id, kind, value, is_primary, %(now)s
    FROM unnest(
        %(kinds)s::varchar[], %(values)s::varchar[], %(primary)s::boolean[], %(contacts)s::uuid[],
        %(identifier_ids)s::uuid[]
    ) WITH ORDINALITY AS new (kind, value, is_primary, contact_id, id, position)
    ORDER BY position
    ON CONFLICT (workspace_id, kind, value) DO NOTHING
    RETURNING contact_id
), made AS (
    INSERT INTO contacts_contact
        (id, workspace_id, first_name, last_name, attributes, created_at, updated_at)
    SELECT drafts.id, %(workspace)s, first_name, last_name, attributes::jsonb, %(now)s, %(now)s
    FROM drafts
    LEFT JOIN (SELECT contact_id, count(*) AS number FROM won GROUP BY contact_id) own
        ON own.contact_id = drafts.id
    WHERE drafts.identifiers = coalesce(own.number, 0)
    RETURNING id
), words AS (
    INSERT INTO contacts_tag (id, workspace_id, name)
    SELECT id, %(workspace)s, name
    FROM unnest(%(word_ids)s::uuid[], %(words)s::varchar[]) WITH ORDINALITY AS new (id, name, position)
    ORDER BY position
    ON CONFLICT (workspace_id, name) DO NOTHING
    RETURNING id, name
), tagged AS (
    INSERT INTO contacts_contacttag (id, workspace_id, contact_id, tag_id, created_at)
    SELECT new.id, %(workspace)s, made.id, tag.id, %(now)s
    FROM unnest(%(tag_contacts)s::uuid[], %(tag_names)s::varchar[], %(tag_ids)s::uuid[])
        AS new (contact_id, name, id)
    JOIN made ON made.id = new.contact_id
    JOIN (
        SELECT id, name FROM words
        UNION ALL
        SELECT id, name FROM contacts_tag WHERE workspace_id = %(workspace)s AND name = ANY(%(words)s::varchar[])
    ) tag ON tag.name = new.name
    RETURNING id
), agreed AS (
    INSERT INTO contacts_consent (id, workspace_id, contact_id, channel, status, changed_at, is_dated)
    SELECT new.id, %(workspace)s, made.id, channel, status, said_at, is_dated
    FROM unnest(
        %(consent_ids)s::uuid[], %(consent_contacts)s::uuid[], %(channels)s::varchar[], %(statuses)s::varchar[],
        %(said_at)s::timestamptz[], %(are_dated)s::boolean[]
    ) AS new (id, contact_id, channel, status, said_at, is_dated)
    JOIN made ON made.id = new.contact_id
)
SELECT (SELECT array_agg(id) FROM drafts WHERE id NOT IN (SELECT id FROM made)), (SELECT count(*) FROM tagged)
"""

_DROP_IDENTIFIERS_OF: Final = """
DELETE FROM contacts_identifier WHERE workspace_id = %(workspace)s AND contact_id = ANY(%(ids)s::uuid[])
"""

_UPDATE_CONTACTS: Final = """
UPDATE contacts_contact c
SET first_name = new.first_name, last_name = new.last_name, attributes = new.attributes::jsonb,
    updated_at = %(now)s
FROM unnest(
    %(ids)s::uuid[], %(first_names)s::varchar[], %(last_names)s::varchar[], %(attributes)s::text[]
) AS new (id, first_name, last_name, attributes)
WHERE c.workspace_id = %(workspace)s AND c.id = new.id
"""

_INSERT_TAGS: Final = """
INSERT INTO contacts_tag (id, workspace_id, name)
SELECT id, %(workspace)s, name
FROM unnest(%(ids)s::uuid[], %(names)s::varchar[]) WITH ORDINALITY AS new (id, name, position)
ORDER BY position
ON CONFLICT (workspace_id, name) DO NOTHING
"""

_TAG_CONTACTS: Final = """
INSERT INTO contacts_contacttag (id, workspace_id, contact_id, tag_id, created_at)
SELECT new.id, %(workspace)s, new.contact_id, tag.id, %(now)s
FROM unnest(%(contacts)s::uuid[], %(names)s::varchar[], %(ids)s::uuid[]) AS new (contact_id, name, id)
JOIN contacts_tag tag ON tag.workspace_id = %(workspace)s AND tag.name = new.name
ON CONFLICT (workspace_id, contact_id, tag_id) DO NOTHING
"""

_UNTAG_CONTACTS: Final = """
DELETE FROM contacts_contacttag has
USING unnest(%(contacts)s::uuid[], %(names)s::varchar[]) AS gone (contact_id, name)
JOIN contacts_tag tag ON tag.workspace_id = %(workspace)s AND tag.name = gone.name
WHERE has.workspace_id = %(workspace)s AND has.contact_id = gone.contact_id AND has.tag_id = tag.id
"""

# What a person says now holds for all that the person is.
_UPDATE_CONSENTS: Final = """
UPDATE contacts_consent c SET status = new.status, changed_at = new.said_at, is_dated = new.is_dated
FROM unnest(
    %(contacts)s::uuid[], %(channels)s::varchar[], %(statuses)s::varchar[], %(said_at)s::timestamptz[],
    %(are_dated)s::boolean[]
) AS new (contact_id, channel, status, said_at, is_dated)
WHERE c.workspace_id = %(workspace)s AND c.contact_id = new.contact_id AND c.channel = new.channel
    AND c.status <> new.status
"""

_UPSERT_CONSENTS: Final = """
INSERT INTO contacts_consent (id, workspace_id, contact_id, channel, status, changed_at, is_dated)
SELECT id, %(workspace)s, contact_id, channel, status, said_at, is_dated
FROM unnest(
    %(ids)s::uuid[], %(contacts)s::uuid[], %(channels)s::varchar[], %(statuses)s::varchar[],
    %(said_at)s::timestamptz[], %(are_dated)s::boolean[]
) AS new (id, contact_id, channel, status, said_at, is_dated)
ON CONFLICT (workspace_id, contact_id, channel)
DO UPDATE SET status = EXCLUDED.status, changed_at = EXCLUDED.changed_at, is_dated = EXCLUDED.is_dated
"""
