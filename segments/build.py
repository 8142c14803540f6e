"""Build drafts: evaluate them for every contact, lane by lane, promote them, and publish what changed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F

from config import clock, ids
from config.db.backfill import Batch
from config.db.read_once import read_once
from config.db.statements import execute, fetch_all
from config.db.timeouts import milliseconds
from config.ids import NO_ID
from config.runtime.background import wake
from contacts.models import Contact
from events.aggregates.registry import (
    ALL_LANES,
    build_aggregates,
    maintained_aggregates,
    purge_aggregates,
    register_aggregates,
)
from events.errors import InvalidCondition
from events.models import EffectsLevel
from events.processing.bisection import bisect_failures
from events.processing.lane_backfills import END, LaneBackfill, LanePosition, begin_lanes, unfinished_lanes
from events.processing.timers import cancel_timers
from events.rules import AggregateSpec, aggregates_of_rule, parse_rule
from events.stream.derived_events import record_derived_events
from events.stream.outbox import LANE_SQL
from segments.errors import SegmentNotBuilt
from segments.evaluation import evaluate_contacts
from segments.models import Segment
from segments.plans import RuleVersion, parse_rule_version
from segments.publication import MembershipChange, derived_event_of, publish_changes
from segments.rule_failures import record_rule_failure

CHUNK = 2_000
"""Contacts that are evaluated in one transaction: their lane's effects wait that long."""
_DELETED_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """How far a build is; `state` is a Segment.Build, `is_publishing`: it serves, its changes are being published."""

    state: str
    judged: int
    total: int
    # 0 to 1; a build with nothing to do is done.
    fraction: float
    started_at: datetime | None
    is_publishing: bool
    publishes: bool


def progress_of(segment: Segment) -> BuildProgress:
    """Return how far the segment's build is, from its row alone."""
    # A lane that was begun again counts its contacts twice, and new contacts come meanwhile.
    judged = min(segment.build_evaluated, segment.build_total)
    is_running = segment.build == Segment.Build.RUNNING
    return BuildProgress(
        state=segment.build,
        judged=judged if is_running else segment.build_total,
        total=segment.build_total,
        fraction=min(judged / segment.build_total, 1) if is_running and segment.build_total else 1.0,
        started_at=segment.build_started_at,
        is_publishing=segment.publishing_since is not None,
        publishes=segment.build_publishes,
    )


def set_draft(segment: Segment, raw: dict[str, Any], *, publishes: bool, now: datetime) -> None:
    """Make a rule the draft of a segment that is about to be saved; `start_builds` has it built."""
    retire(segment, segment.draft_version)
    segment.draft_rule, segment.draft_version = raw, ids.uuid7()
    segment.build, segment.build_publishes = Segment.Build.RUNNING, publishes
    segment.build_started_at = now
    segment.build_lanes_done = segment.build_evaluated = 0
    segment.build_total = _contact_count(segment.workspace_id)
    if segment.parked_at is None:
        segment.error = ""


def start_builds(workspace_id: UUID, segments: Sequence[Segment]) -> None:
    """Start the builds of drafts, in the edit's transaction, with the rules locked."""
    drafts = [parse_rule(segment.draft_rule) for segment in segments]
    register_aggregates(workspace_id, frozenset().union(*map(aggregates_of_rule, drafts)))
    begin_lanes(BUILDS.path, workspace_id, *[segment.id for segment in segments])


@read_once
def _contact_count(workspace_id: UUID) -> int:
    return Contact.objects.in_workspace(workspace_id).canonical().count()


def promote_draft(segment: Segment, now: datetime) -> None:
    """Let the draft serve, which must be built; in a transaction that holds the rules and the row.

    Raises SegmentNotBuilt.
    """
    if segment.draft_version is None or segment.build_lanes_done != ALL_LANES:
        raise SegmentNotBuilt
    retire(segment, segment.version)
    segment.rule, segment.version = segment.draft_rule, segment.draft_version
    segment.draft_rule = segment.draft_version = None
    segment.build = Segment.Build.NONE
    segment.parked_at, segment.error = None, ""
    segment.published_at = segment.publishing_since = now
    segment.published_lanes = 0
    begin_lanes(PUBLICATIONS.path, segment.workspace_id, segment.id)


def retire(segment: Segment, version: UUID | None) -> None:
    """Have what a version has left deleted in the background."""
    if version is not None:
        wake("segments.tasks.purge_versions", str(segment.workspace_id), [str(version)])


def run_build(workspace_id: UUID, segment_id: UUID) -> str:
    """Build and publish all that is left, here and now: for commands and tests. Returns "done" or "nothing"."""
    lanes = [
        backfill.run_lane(workspace_id, segment_id, lane)
        for backfill in (BUILDS, PUBLICATIONS)
        for lane in unfinished_lanes(backfill.path, workspace_id, segment_id)
    ]
    return "done" if lanes else "nothing"


def workspaces_with_segments() -> list[UUID]:
    """Return the workspaces with memberships, membership periods or aggregates."""
    rows = fetch_all(
        "SELECT w.id FROM workspaces_workspace w WHERE EXISTS ("
        " SELECT 1 FROM segments_membership m WHERE m.workspace_id = w.id) OR EXISTS ("
        " SELECT 1 FROM segments_membershipperiod s WHERE s.workspace_id = w.id) OR EXISTS ("
        " SELECT 1 FROM events_aggregate e WHERE e.workspace_id = w.id)"
    )
    return [workspace_id for (workspace_id,) in rows]


def purge_stale_rows(workspace_id: UUID, versions: Sequence[UUID] = ()) -> int:
    """Delete, in chunks, what versions and segments that are gone have left behind. Returns the rows.

    `versions` are gone for certain: their rows of the timers go too, which else go when they are due.
    """
    stale, gone = (
        [value for (value,) in fetch_all(statement, [workspace_id, workspace_id, workspace_id])]
        for statement in (_STALE_VERSIONS, _STALE_SEGMENTS)
    )
    with transaction.atomic():
        cancel_timers(workspace_id, timer_keys=[*versions, *stale])
    deleted = sum(
        _delete_in_chunks("segments_membership", "version", workspace_id, version) for version in stale
    )
    deleted += sum(
        _delete_in_chunks("segments_membershipperiod", "segment_id", workspace_id, segment_id)
        for segment_id in gone
    )
    return deleted + purge_aggregates(workspace_id, partial(_wanted_aggregates, workspace_id))


def _wanted_aggregates(workspace_id: UUID) -> set[AggregateSpec]:
    """Return what segment rules read, those of drafts and parked segments too; other rules read no aggregates."""
    return set().union(*map(aggregates_of, Segment.objects.in_workspace(workspace_id).dynamic()))


def aggregates_of(segment: Segment) -> set[AggregateSpec]:
    """Return what a segment's rule and its draft read of all time."""
    found: set[AggregateSpec] = set()
    for raw in (segment.rule, segment.draft_rule):
        # One that cannot be read any more is evaluated by nobody.
        with suppress(InvalidCondition):
            found |= aggregates_of_rule(parse_rule(raw)) if raw is not None else frozenset()
    return found


def _segment_with(workspace_id: UUID, segment_id: UUID, **state: Any) -> Segment | None:
    return Segment.objects.in_workspace(workspace_id).filter(id=segment_id, **state).first()


def _build_batch(position: LanePosition) -> Batch:
    """Evaluate the next contacts of a lane by the draft, if it is still being built."""
    workspace_id, lane = position.workspace_id, position.lane
    segment = _segment_with(workspace_id, position.subject_id, build=Segment.Build.RUNNING)
    if segment is None or segment.draft_version is None:
        return Batch(None)
    read = parse_rule_version(segment, segment.draft_rule, segment.draft_version)
    if isinstance(read, tuple):
        record_rule_failure(workspace_id, *read, clock.now())
        return Batch(None)
    if position.after == NO_ID and build_aggregates(workspace_id, lane, aggregates_of_rule(read.rule)):
        return Batch(str(NO_ID))
    contact_ids = position.contacts(CHUNK)
    if contact_ids and not _evaluate(workspace_id, read, lane, contact_ids):
        return Batch(None)
    is_more = len(contact_ids) == CHUNK
    draft = Segment.objects.in_workspace(workspace_id).filter(id=segment.id)
    # Last, for lanes that are built at the same time wait here for one another.
    draft.update(
        build_evaluated=F("build_evaluated") + len(contact_ids),
        build_lanes_done=F("build_lanes_done").bitor(0 if is_more else 1 << lane),
    )
    if is_more:
        return Batch(str(contact_ids[-1]), done=CHUNK)
    is_last = draft.filter(build_lanes_done=ALL_LANES).exists()
    return Batch(END if is_last else None, done=len(contact_ids))


def _evaluate(workspace_id: UUID, rule_version: RuleVersion, lane: int, contact_ids: Sequence[UUID]) -> bool:
    """Evaluate contacts. Returns False where the draft fails, whose build ends then."""
    failed = []

    def evaluate(_: object) -> None:
        built = {kept.spec for kept in maintained_aggregates(workspace_id) if kept.lanes_built >> lane & 1}
        evaluate_contacts(workspace_id, rule_version, contact_ids, built, clock.now())

    def park_item(_: object, error: Exception) -> None:
        failed.append(error)
        record_rule_failure(workspace_id, rule_version, error, clock.now())

    seconds = settings.TIMEOUTS["effects"].statement_seconds
    execute(f"SET LOCAL statement_timeout = {milliseconds(seconds)}")
    bisect_failures([rule_version], evaluate, park_item)
    return not failed


def _finish_build(workspace_id: UUID, segment_id: UUID) -> None:
    """Publish a draft whose lanes are all done, or mark it as built; with the rules held as by an edit."""
    done = Segment.objects.in_workspace(workspace_id).filter(
        id=segment_id, build=Segment.Build.RUNNING, build_lanes_done=ALL_LANES
    )
    segment = done.select_for_update().first()
    if segment is None:
        return
    if segment.build_publishes:
        promote_draft(segment, clock.now())
    else:
        segment.build = Segment.Build.DONE
    segment.save()


def _publish_batch(position: LanePosition) -> Batch:
    """Publish who entered and left with a promoted draft, of a lane's next contacts."""
    segment = _segment_with(position.workspace_id, position.subject_id, publishing_since__isnull=False)
    if segment is None:
        return Batch(None)
    last = _publish_chunk(segment, position.lane, position.after, clock.now())
    if last is not None:
        return Batch(str(last))
    serving = Segment.objects.in_workspace(position.workspace_id).filter(id=segment.id)
    serving.update(published_lanes=F("published_lanes").bitor(1 << position.lane))
    serving.filter(published_lanes=ALL_LANES).update(publishing_since=None)
    return Batch(None)


def _publish_chunk(segment: Segment, lane: int, after: UUID, now: datetime) -> UUID | None:
    """Tell of some contacts, by id. Returns the last that was looked at, None if there is none left."""
    workspace_id = segment.workspace_id
    rows: list[tuple[UUID, bool, bool]] = fetch_all(
        _MEMBERS_AND_PERIODS,
        {
            "workspace": workspace_id,
            "version": segment.version,
            "segment": segment.id,
            "after": after,
            "lane": lane,
            "limit": CHUNK,
        },
    )
    if not rows:
        return None
    moves = [
        MembershipChange(segment.id, contact_id, is_in, now)
        for contact_id, is_in, is_told in rows
        if is_in != is_told
    ]
    level = EffectsLevel.ALL if segment.starts_campaigns else EffectsLevel.SCORES_AND_SEGMENTS
    news = publish_changes(workspace_id, moves)
    record_derived_events(
        workspace_id, [derived_event_of(change, segment.name, level=level) for change in news], now=now
    )
    return max(contact_id for contact_id, _, _ in rows)


def _delete_in_chunks(table: str, column: str, workspace_id: UUID, value: UUID) -> int:
    total, count = 0, 1
    while count:
        count = execute(
            f"DELETE FROM {table} WHERE workspace_id = %s AND id = ANY (ARRAY("
            f" SELECT id FROM {table} WHERE workspace_id = %s AND {column} = %s LIMIT %s))",
            [workspace_id, workspace_id, value, _DELETED_AT_ONCE],
        )
        total += count
    return total


_MEMBERS_AND_PERIODS = f"""
SELECT contact_id, bool_or(is_in), bool_or(is_told) FROM (
    (SELECT contact_id, true AS is_in, false AS is_told FROM segments_membership
    WHERE workspace_id = %(workspace)s AND version = %(version)s AND contact_id > %(after)s
        AND {LANE_SQL.format("contact_id")} = %(lane)s
    ORDER BY contact_id LIMIT %(limit)s)
    UNION ALL
    (SELECT contact_id, false, true FROM segments_membershipperiod
    WHERE workspace_id = %(workspace)s AND segment_id = %(segment)s AND left_at IS NULL
        AND contact_id > %(after)s AND {LANE_SQL.format("contact_id")} = %(lane)s
    ORDER BY contact_id LIMIT %(limit)s)
) both_ GROUP BY contact_id ORDER BY contact_id LIMIT %(limit)s
"""
# One step in the index from each value to the next, however many rows it has.
_STALE = """
WITH RECURSIVE found (value) AS (
    (SELECT {column} FROM {table} WHERE workspace_id = %s ORDER BY {column} LIMIT 1)
    UNION ALL
    SELECT (SELECT m.{column} FROM {table} m
        WHERE m.workspace_id = %s AND m.{column} > found.value ORDER BY m.{column} LIMIT 1)
    FROM found WHERE found.value IS NOT NULL
)
SELECT value FROM found WHERE value IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM segments_segment s WHERE s.workspace_id = %s AND found.value IN ({kept}))
"""
_STALE_VERSIONS = _STALE.format(
    table="segments_membership", column="version", kept="s.version, s.draft_version"
)
_STALE_SEGMENTS = _STALE.format(table="segments_membershipperiod", column="segment_id", kept="s.id")
BUILDS: Final = LaneBackfill("segments.build.BUILDS", _build_batch, finish=_finish_build)
"""Drafts that are evaluated for every contact."""
PUBLICATIONS: Final = LaneBackfill("segments.build.PUBLICATIONS", _publish_batch)
"""Promoted drafts whose entries and exits are published."""
