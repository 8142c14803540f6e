"""Keep refused events, as many as `QUARANTINE_EVENTS` of a workspace and as long as `QUARANTINE_DAYS`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
import orjson
from django.conf import settings
from django.db import connection

from config import clock, ids
from config.db.arrays import array
from config.db.errors import storable_text
from config.errors import DomainError
from contacts.errors import PersonErased
from events.models import RefusedEvent
from events.stream.types import IncomingEvent, SchemaPolicy
from workspaces.models import Workspace

MAX_BYTES: Final = 100_000
"""Of an event as JSON; longer ones are not kept."""
_MAX_ERROR: Final = 500
_Keeps = Workspace.Quarantine


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that was refused, and how it came."""

    incoming: IncomingEvent
    error: DomainError
    schema_policy: SchemaPolicy
    source: str
    is_of_batch: bool


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
        # What is said of an erased person is kept nowhere.
        and not isinstance(refusal.error, PersonErased)
    ]
    rows = [row for refusal in wanted if (row := _row(workspace_id, refusal, received_at)) is not None]
    RefusedEvent.objects.bulk_create(rows)
    if rows:
        _make_room(workspace_id)
    return len(rows)


def _row(workspace_id: UUID, refusal: Refusal, received_at: datetime) -> RefusedEvent | None:
    body = msgspec.to_builtins(refusal.incoming)
    encoded = orjson.dumps(body, default=str)
    # What no database can store is kept by nobody, as is what is very long.
    if len(encoded) > MAX_BYTES or b"\\u0000" in encoded:
        return None
    name = refusal.incoming.name
    return RefusedEvent(
        id=ids.uuid7(received_at),
        workspace_id=workspace_id,
        name=name[:255] if isinstance(name, str) else "",
        incoming=body,
        schema_policy=refusal.schema_policy.value,
        source=refusal.source,
        code=refusal.error.code,
        error=storable_text(refusal.error.message, _MAX_ERROR),
        received_at=received_at,
    )


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
    """Return a refused event as it came in; one without a key of its sender has one of its own, for the replay."""
    body: Mapping[str, Any] = row.incoming
    incoming = msgspec.convert(body, IncomingEvent)
    return (
        incoming if incoming.message_id else msgspec.structs.replace(incoming, message_id=f"refused:{row.id}")
    )


def discard(workspace_id: UUID, refused_ids: Iterable[UUID]) -> int:
    """Delete refused events for good. Returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM events_refusedevent WHERE workspace_id = %s AND id = ANY (%s::uuid[])",
            [workspace_id, array(refused_ids)],
        )
        return int(cursor.rowcount)
