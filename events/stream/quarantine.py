"""Keep refused events, as many as `QUARANTINE_EVENTS` of a workspace and as long as `QUARANTINE_DAYS`.

What the parser of a batch refused is kept as it was sent. Of erased persons nothing is kept: neither what names one,
by an identifier or by the contact's id, nor what names so much that this cannot be told.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, Final
from uuid import UUID

import msgspec
import orjson
from django.conf import settings
from django.db import connection, transaction

from config import clock, ids
from config.db.arrays import array
from config.db.errors import storable_text
from config.errors import DomainError
from contacts.errors import PersonErased
from contacts.identifiers import Identification
from contacts.mentions import Mentions, mentions_in, naming_erased
from events.errors import ItemRefused
from events.models import Event, RefusedEvent
from events.stream.item_formats import ParsedItems, item_formats
from events.stream.types import IncomingEvent, SchemaPolicy
from workspaces.models import Workspace

MAX_BYTES: Final = 100_000
"""Of an event as JSON; longer ones are not kept."""
_MAX_ERROR: Final = 500
_CHUNK: Final = 200
_Keeps = Workspace.Quarantine


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that was refused, and how it came."""

    incoming: IncomingEvent
    error: DomainError
    schema_policy: SchemaPolicy
    source: str
    is_of_batch: bool
    # Of what a parser refused; `incoming` is nothing then.
    unparsed: "UnparsedRefusal | None" = None


@dataclass(frozen=True, slots=True)
class UnparsedRefusal:
    """What else there is to say of an item that its format's parser refused."""

    format: str
    item: Any
    shared: Mapping[str, Any]
    is_public: bool


def unparsed_refusals(items: ParsedItems, *, is_public: bool) -> Iterator[Refusal]:
    """Yield what a batch's parser refused. `is_public`: the batch came with a page's key."""
    for each in items.unparsed:
        name = items.format.event_name(each.item) if isinstance(each.item, dict) else ""
        yield Refusal(
            IncomingEvent(name if isinstance(name, str) else ""),
            ItemRefused(*items.format.cause(each.error)),
            items.format.schema_policy,
            Event.Source.API,
            is_of_batch=True,
            unparsed=UnparsedRefusal(items.format.name, each.item, items.shared, is_public),
        )


def keep_refused(workspace_id: UUID, refusals: Iterable[Refusal], received_at: datetime) -> int:
    """Keep refused events in the caller's transaction, as the workspace wants it. Returns how many."""
    refusals = list(refusals)
    if not refusals:
        return 0
    kept = Workspace.objects.filter(id=workspace_id).values_list("quarantine", flat=True).first()
    wanted = [
        refusal
        for refusal in refusals
        if (kept == _Keeps.ALL or (kept == _Keeps.BATCHES and refusal.is_of_batch))
        and not isinstance(refusal.error, PersonErased)
    ]
    made = (_row(workspace_id, refusal, received_at, place) for place, refusal in enumerate(wanted))
    # The first of a call have no room anyway.
    found = [row for row in made if row is not None][-settings.QUARANTINE_EVENTS :]
    rows = _without_erased(workspace_id, found)
    RefusedEvent.objects.bulk_create(rows)
    if rows:
        # Once all that others commit meanwhile can be seen: whoever is last makes room for all, and nobody waits.
        transaction.on_commit(partial(_make_room, workspace_id), robust=True)
    return len(rows)


def _row(workspace_id: UUID, refusal: Refusal, received_at: datetime, place: int) -> RefusedEvent | None:
    unparsed = refusal.unparsed
    incoming = {} if unparsed else msgspec.to_builtins(refusal.incoming)
    encoded = orjson.dumps([incoming, unparsed and [unparsed.item, unparsed.shared]], default=str)
    # What no database can store is kept by nobody, as is what is very long.
    if len(encoded) > MAX_BYTES or b"\\u0000" in encoded:
        return None
    name = refusal.incoming.name
    return RefusedEvent(
        id=ids.uuid7(received_at, place),
        workspace_id=workspace_id,
        name=name[:255] if isinstance(name, str) else "",
        incoming=incoming,
        format=unparsed.format if unparsed else "",
        item=unparsed.item if unparsed else None,
        shared=unparsed.shared if unparsed else {},
        is_public=unparsed is not None and unparsed.is_public,
        schema_policy=refusal.schema_policy.value,
        source=refusal.source,
        code=refusal.error.code,
        error=storable_text(refusal.error.message, _MAX_ERROR),
        received_at=received_at,
    )


def _without_erased(workspace_id: UUID, rows: Sequence[RefusedEvent]) -> list[RefusedEvent]:
    if not rows:
        return []
    are_of_erased = naming_erased(workspace_id, [_mentions(row) for row in rows])
    return [row for row, is_of_erased in zip(rows, are_of_erased, strict=True) if not is_of_erased]


def _mentions(row: RefusedEvent) -> Mentions:
    """Return whom a row may name: of an event that was understood, its identifiers are known."""
    if row.format:
        return mentions_in([row.item, row.shared])
    contact = row.incoming.get("contact") or {}
    changes = contact.get("changes") or {}
    known = [
        (kind, value)
        for holder, name in ((contact, "identifiers"), (contact, "same_as"), (changes, "identifiers"))
        for kind, value in holder.get(name) or ()
    ]
    return mentions_in(row.incoming, known=known, is_understood=True)


def purge_refused_of(
    workspace_id: UUID,
    contact_ids: Collection[UUID],
    identifiers: Collection[Identification],
    since: datetime | None = None,
) -> int:
    """Delete what names a person who is erased. `since`: what came from then on, of anybody erased."""
    ids_as_text, named = {str(contact_id) for contact_id in contact_ids}, set(identifiers)
    rows = RefusedEvent.objects.in_workspace(workspace_id).order_by("id")
    if since is not None:
        rows = rows.filter(id__gte=ids.first_id_at(since))
    found: list[UUID] = []
    chunks = rows.only("id", "format", "incoming", "item", "shared").iterator(_CHUNK)
    while chunk := list(islice(chunks, _CHUNK)):
        mentions = [_mentions(row) for row in chunk]
        erased = naming_erased(workspace_id, mentions) if since is not None else [False] * len(chunk)
        found += (
            row.id
            for row, each, is_erased in zip(chunk, mentions, erased, strict=True)
            if is_erased or each.name(ids_as_text, named)
        )
    return discard(workspace_id, found)


def _make_room(workspace_id: UUID) -> None:
    """Delete the oldest beyond the limit."""
    with connection.cursor() as cursor:
        cursor.execute(_TOO_MANY, [workspace_id, workspace_id, settings.QUARANTINE_EVENTS])


_TOO_MANY: Final = """
DELETE FROM events_refusedevent WHERE workspace_id = %s AND id IN (
    SELECT id FROM events_refusedevent WHERE workspace_id = %s ORDER BY id DESC OFFSET %s
)
"""


def purge_old_refusals() -> int:
    """Delete refused events that are older than `QUARANTINE_DAYS`. Returns how many."""
    oldest = ids.first_id_at(clock.now() - timedelta(days=settings.QUARANTINE_DAYS))
    deleted, _ = RefusedEvent.objects.filter(id__lt=oldest).delete()
    return deleted


def incoming_of(row: RefusedEvent) -> IncomingEvent:
    """Return a refused event as it came in; one without a key of its sender has one of its own, for the replay.

    Raises ItemRefused where its parser still does not understand it.
    """
    try:
        incoming = _parsed(row) if row.format else msgspec.convert(row.incoming, IncomingEvent)
    except msgspec.ValidationError as error:
        # Stored by an earlier version.
        raise ItemRefused("invalid", str(error)) from error
    return (
        incoming if incoming.message_id else msgspec.structs.replace(incoming, message_id=f"refused:{row.id}")
    )


def _parsed(row: RefusedEvent) -> IncomingEvent:
    """Hand an item to its format's parser, as of when it came."""
    item_format = item_formats().get(row.format)
    if item_format is None:
        raise ItemRefused("unknown_format", f'There is no parser of "{row.format}"')
    try:
        incoming = item_format.parse(row.item, row.shared, row.received_at)
    except item_format.refusals as error:
        raise ItemRefused(*item_format.cause(error)) from error
    if incoming is None:
        raise ItemRefused("not_for_us", "Its sender has left Headrace out")
    # Which scopes its sender's key had is not known any more.
    incoming = incoming.merging_visitors()
    return incoming.filling_in() if row.is_public else incoming


def discard(workspace_id: UUID, refused_ids: Iterable[UUID]) -> int:
    """Delete refused events for good. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM events_refusedevent WHERE workspace_id = %s AND id = ANY (%s::uuid[])",
            [workspace_id, array(refused_ids)],
        )
        return int(cursor.rowcount)
