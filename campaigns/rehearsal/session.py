"""A database session that sees the past, and writes nothing but temporary tables.

Temporary relations hide the tables that a campaign writes, so the same code runs as when the campaign is active; the
session is read-only, so PostgreSQL itself refuses to write anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from queue import Empty, Queue
from typing import Final, TypeVar
from uuid import UUID

from django.db import connection

from campaigns.models import (
    Broadcast,
    Campaign,
    CampaignSet,
    CampaignVersion,
    ChannelSettings,
    Decision,
    Enrollment,
    Message,
    PendingConsent,
    Suppression,
)
from config.db.statements import execute, fetch_all, fetch_one
from config.db.workloads import use_in_thread
from contacts.models import Consent, Contact, ContactScore, ContactTag, Identifier, Tag
from events.models import Event, EventBatch, ParkedEffect, Timer
from events.stream.lateness import LATE_AFTER
from segments.models import Membership, MembershipPeriod, Segment

_Result = TypeVar("_Result")

RECORDED: Final = "rehearsal_recorded"
"""Temporary table of the events that the rehearsal itself records."""
HISTORY: Final = "rehearsal_history"
"""Temporary table of the events to rehearse over."""
SCORES: Final = "rehearsal_scores"
"""Temporary table of the scores of contacts from each moment on."""
KNOWN_AT: Final = (
    f"CASE WHEN e.received_at > e.occurred_at + interval '{int(LATE_AFTER.total_seconds())} s'"
    " THEN e.occurred_at ELSE GREATEST(e.received_at, e.occurred_at) END"
)
"""When an event `e` became known: on receipt; imported history, and what came late, when it happened."""
_EMPTY: Final = (
    *(Campaign, CampaignVersion, Enrollment, Decision, CampaignSet, Message),
    *(Broadcast, EventBatch, Timer, ParkedEffect),
    *(Contact, Identifier, ContactTag, Consent),
)
_COPIED: Final = (ChannelSettings, Tag)
_NOW: Final = "current_setting('headrace.now')::timestamptz"
_EVENT_COLUMNS: Final = ", ".join(str(field.column) for field in Event._meta.concrete_fields)


InCaller = Callable[[Callable[[], object]], None]
"""Has a function called by whoever waits for the session, on a connection that may write."""


HEARTBEAT_SECONDS: Final = 10.0


class _CallerFailed(Exception):
    """Whoever waits for the session has no use for it any more."""


def run_in_session(
    function: Callable[[InCaller], _Result], heartbeat: Callable[[], object] = lambda: None
) -> _Result:
    """Call a function in a thread with a connection of its own, which is closed afterwards.

    Meanwhile this thread calls what the function hands to its argument, in order, and the `heartbeat` every ten
    seconds in which there is nothing else. What one of these raises ends the session.
    """
    calls: Queue[Callable[[], object] | None] = Queue(maxsize=10)
    failure: Exception | None = None

    def hand_over(wanted: Callable[[], object]) -> None:
        if failure is not None:
            raise _CallerFailed
        calls.put(wanted)

    def call() -> _Result:
        use_in_thread("command")
        try:
            return function(hand_over)
        finally:
            connection.close()
            calls.put(None)

    with ThreadPoolExecutor(1, thread_name_prefix="rehearsal") as executor:
        result = executor.submit(call)
        while (wanted := _next_call(calls, heartbeat)) is not None:
            try:
                if failure is None:
                    wanted()
            except Exception as error:
                # The session must not wait for ever to hand over what follows.
                failure = error
        if failure is not None:
            raise failure
        return result.result()


def _next_call(
    calls: Queue[Callable[[], object] | None], heartbeat: Callable[[], object]
) -> Callable[[], object] | None:
    try:
        return calls.get(timeout=HEARTBEAT_SECONDS)
    except Empty:
        return heartbeat


def hide_tables(workspace_id: UUID, campaign: Campaign, version: CampaignVersion) -> None:
    """Hide the tables that campaigns write, but for the rows of `campaign` and `version`, and make the session
    read-only. Contacts are hidden, too: see `show_contacts`. Called within `run_in_session`.
    """
    connection.ensure_connection()
    # A statement that is prepared by now would go on reading the tables that are to be hidden.
    threshold, connection.connection.prepare_threshold = connection.connection.prepare_threshold, None
    schema = live_schema()
    for model in (*_EMPTY, *_COPIED):
        table = model._meta.db_table
        execute(f"CREATE TEMP TABLE {table} (LIKE {schema}.{table} INCLUDING ALL)")
    for model in _COPIED:
        table = model._meta.db_table
        execute(f"INSERT INTO {table} SELECT * FROM {schema}.{table} WHERE workspace_id = %s", [workspace_id])
    for statement in _VIEWS:
        execute(statement.format(schema=schema, workspace=workspace_id, campaign=campaign.pk))
    show_now(datetime(1970, 1, 1, tzinfo=UTC))
    campaign.save(force_insert=True)
    version.save(force_insert=True)
    execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY")
    connection.connection.prepare_threshold = threshold
    # Wake-ups, notifications and figures that would follow a commit concern nobody.
    connection.on_commit = _ignore  # type: ignore[method-assign]


def _ignore(*_: object, **__: object) -> None:
    """Take no notice of what is to follow a commit."""


# Events become visible as time passes, without those that the live campaign recorded itself.
_VIEWS: Final = (
    f"CREATE TEMP TABLE {RECORDED} (LIKE {{schema}}.events_event INCLUDING DEFAULTS INCLUDING INDEXES)",
    f"CREATE TEMP VIEW events_event AS SELECT {_EVENT_COLUMNS} FROM {{schema}}.events_event e"
    f" WHERE {KNOWN_AT} <= {_NOW} AND NOT (e.source = 'system'"
    " AND e.properties @> jsonb_build_object('campaignId', '{campaign}'::text))"
    f" UNION ALL SELECT {_EVENT_COLUMNS} FROM {RECORDED}",
    f"CREATE FUNCTION pg_temp.record_event() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
    f" INSERT INTO {RECORDED} ({_EVENT_COLUMNS}) SELECT"
    f" {', '.join(f'NEW.{column}' for column in _EVENT_COLUMNS.split(', '))}; RETURN NEW; END $$",
    "CREATE TRIGGER record_event INSTEAD OF INSERT ON events_event"
    " FOR EACH ROW EXECUTE FUNCTION pg_temp.record_event()",
    f"CREATE TEMP TABLE {SCORES} (contact_id uuid, at timestamptz, points numeric, PRIMARY KEY (contact_id, at))",
    f"CREATE TEMP VIEW {ContactScore._meta.db_table} AS"
    " SELECT s.contact_id AS id, '{workspace}'::uuid AS workspace_id, s.contact_id, s.points, s.at AS updated_at"
    f" FROM {SCORES} s WHERE s.at = (SELECT max(at) FROM {SCORES} WHERE contact_id = s.contact_id AND at <= {_NOW})",
    f"CREATE TEMP VIEW {Membership._meta.db_table} AS"
    " SELECT p.id, p.workspace_id, p.segment_id, s.version, p.contact_id, p.entered_at AS since"
    f" FROM {{schema}}.{MembershipPeriod._meta.db_table} p"
    f" JOIN {{schema}}.{Segment._meta.db_table} s ON s.workspace_id = p.workspace_id AND s.id = p.segment_id"
    f" WHERE p.entered_at <= {_NOW} AND (p.left_at IS NULL OR p.left_at > {_NOW})",
    *(
        f"CREATE TEMP VIEW {table} AS SELECT * FROM {{schema}}.{table} WHERE created_at <= {_NOW}"
        for table in (Suppression._meta.db_table, PendingConsent._meta.db_table)
    ),
)


def show_now(moment: datetime) -> None:
    """Show what was known at a moment."""
    execute("SELECT set_config('headrace.now', %s, false)", [moment.isoformat()])


def show_contacts(workspace_id: UUID, contact_ids: Sequence[UUID]) -> None:
    """Copy contacts, with those merged into them and all that hangs on them, into the hidden tables."""
    schema = live_schema()
    copied = fetch_all(
        f"INSERT INTO contacts_contact SELECT * FROM {schema}.contacts_contact c WHERE workspace_id = %s"
        " AND (id = ANY(%s) OR merged_into_id = ANY(%s)) ON CONFLICT DO NOTHING RETURNING id",
        [workspace_id, list(contact_ids), list(contact_ids)],
    )
    for table in _OF_CONTACTS:
        execute(
            f"INSERT INTO {table} SELECT * FROM {schema}.{table} WHERE workspace_id = %s"
            " AND contact_id = ANY(%s)",
            [workspace_id, [contact_id for (contact_id,) in copied]],
        )


def live_schema() -> str:
    """Return the schema of the tables that are hidden."""
    return str(fetch_one("SELECT current_schema()")[0])


_OF_CONTACTS: Final = tuple(model._meta.db_table for model in (Identifier, ContactTag, Consent))
