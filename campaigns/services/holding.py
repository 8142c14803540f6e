"""Whether rules hold for the contacts of runs, now."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db import connection

from campaigns.models import RunState
from campaigns.services.turns import Chunk
from events.bounds import known_until
from events.rules import Rule, compile_rules


def holding(chunk: Chunk, runs: Sequence[RunState], rules: Sequence[Rule]) -> dict[UUID, list[bool]]:
    """Return by run which of the rules hold as of now, all in one statement.

    Rules may ask about the event that started the run; where none did, what they ask for is missing.
    """
    compiled = compile_rules(rules)
    until = known_until(chunk.now)
    people = [chunk.people[run.contact_id] for run in runs]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT b.run_id, ARRAY[{", ".join(compiled.matches)}] FROM (
                SELECT w.run_id, w.contact_id, w.ids::uuid[] AS ids, w.event_id, %s::timestamptz AS as_of,
                    %s::timestamptz AS until
                FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::uuid[]) AS w (run_id, contact_id, ids, event_id)
                OFFSET 0
            ) b
            LEFT JOIN LATERAL (
                SELECT * FROM events_event WHERE workspace_id = %s AND id = b.event_id OFFSET 0
            ) t ON true
            {compiled.joins.text}
            """,
            [
                chunk.now,
                until,
                [run.id for run in runs],
                [person.id for person in people],
                [f"{{{','.join(map(str, person.ids))}}}" for person in people],
                [run.event_id for run in runs],
                chunk.workspace_id,
                *compiled.bind(chunk.workspace_id, chunk.now, until),
            ],
        )
        return dict(cursor.fetchall())
