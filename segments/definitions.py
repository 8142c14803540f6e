"""Create, edit, publish and delete segments, so that no event falls between the old rule and the new."""

from __future__ import annotations

import json
from collections import ChainMap
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils.module_loading import import_string

from config import clock
from config.db.bulk import insert_rows, update_rows
from config.errors import DomainError
from events.aggregates.registry import reset_aggregates
from events.errors import InvalidCondition, UnreadableRule
from events.processing.passes import bump_rules_version
from events.rules import Rule, find_rule_warnings, parse_rule
from events.rules.parser import declared_types, referenced_segment_ids, validate_segments
from scoring.models import ScoringRule
from segments.build import aggregates_of, promote_draft, retire, set_draft, start_builds
from segments.errors import (
    InvalidSegmentName,
    SegmentExists,
    SegmentHasNoDraft,
    SegmentInUse,
    SegmentIsStatic,
    SegmentNotFound,
)
from segments.models import Segment

_WRITTEN: Final = (
    "name",
    "description",
    "starts_campaigns",
    "rule",
    "version",
    "draft_rule",
    "draft_version",
    "build",
    "build_publishes",
    "build_started_at",
    "build_lanes_done",
    "build_evaluated",
    "build_total",
    "parked_at",
    "error",
    "published_at",
    "publishing_since",
    "published_lanes",
    "updated_at",
)


def get_segment(workspace_id: UUID, segment_id: UUID) -> Segment:
    """Return a segment. Raises SegmentNotFound."""
    segment = Segment.objects.in_workspace(workspace_id).filter(id=segment_id).first()
    if segment is None:
        raise SegmentNotFound
    return segment


class SegmentEdits:
    """New and changed segments of a workspace, checked one by one and written together, in one transaction.

    It waits for effects under the old rules, and locks the segments that are to be changed.
    """

    def __init__(self, workspace_id: UUID, segment_ids: Collection[UUID] = ()) -> None:
        self.workspace_id = workspace_id
        self._held = _hold_all(workspace_id, segment_ids)
        self._created: dict[UUID, Segment] = {}
        self._changed: dict[UUID, Segment] = {}
        self._started: dict[UUID, Segment] = {}
        self._siblings: dict[UUID, Segment] | None = None

    def create(
        self,
        *,
        name: str,
        description: str = "",
        evaluation: str = Segment.Evaluation.DYNAMIC,
        raw: Mapping[str, Any] | None = None,
        starts_campaigns: bool = False,
        publish: bool = True,
    ) -> Segment:
        """Return a new segment, as `create_segment` does."""
        segment = Segment(
            workspace_id=self.workspace_id,
            name=_sound_name(name),
            description=description,
            evaluation=evaluation,
            starts_campaigns=starts_campaigns,
        )
        if not segment.is_static:
            check_rule(self.workspace_id, raw, siblings=self._all)
            self._start_build(segment, dict(raw or {}), publish)
        elif raw is not None:
            raise SegmentIsStatic
        self._created[segment.id] = segment
        return segment

    def update(
        self,
        segment: Segment,
        *,
        name: str | None = None,
        description: str | None = None,
        raw: Mapping[str, Any] | None = None,
        starts_campaigns: bool | None = None,
        publish: bool = True,
    ) -> Segment:
        """Change one of the locked segments, as `update_segment` does."""
        held = self._held.get(segment.id)
        if held is None:
            raise SegmentNotFound
        if name is not None:
            held.name = _sound_name(name)
        if description is not None:
            held.description = description
        if starts_campaigns is not None:
            held.starts_campaigns = starts_campaigns
        if raw is not None:
            self._set_rule(held, dict(raw), publish)
        self._changed[held.id] = held
        return held

    def rebuild(self, segment: Segment) -> Segment:
        """Build one of the locked segments again, as `rebuild_segment` does."""
        held = self._held.get(segment.id)
        if held is None:
            raise SegmentNotFound
        if held.is_static:
            raise SegmentIsStatic
        raw, publishes = held.rule, True
        if held.has_draft:
            raw, publishes = held.draft_rule, held.build_publishes
        if raw is None:  # its only draft was given up
            raise SegmentHasNoDraft
        try:
            check_rule(self.workspace_id, raw, held, siblings=self._all)
        except InvalidCondition as error:
            raise UnreadableRule(error.of_stored) from error
        self._start_build(held, dict(raw), publishes)
        self._changed[held.id] = held
        return held

    def write(self) -> None:
        """Write what was created and changed, and start the builds. Raises SegmentExists."""
        now = clock.now()
        for segment in [*self._created.values(), *self._changed.values()]:
            segment.updated_at = now
        standing = Segment.objects.in_workspace(self.workspace_id)
        with _unique_names():
            insert_rows(list(self._created.values()))
            update_rows(standing, list(self._changed.values()), _WRITTEN)
        if self._started:
            start_builds(self.workspace_id, list(self._started.values()))

    def _all(self) -> Mapping[UUID, Segment]:
        """Return the workspace's segments as they will be."""
        if self._siblings is None:
            self._siblings = {row.id: row for row in Segment.objects.in_workspace(self.workspace_id)}
        return ChainMap(self._created, self._held, self._siblings)

    def _set_rule(self, segment: Segment, raw: dict[str, Any], publish: bool) -> None:
        if segment.is_static:
            raise SegmentIsStatic
        check_rule(self.workspace_id, raw, segment, siblings=self._all)
        if segment.has_draft and segment.build != Segment.Build.FAILED and _is_same(raw, segment.draft_rule):
            segment.build_publishes = publish
            if publish and segment.build == Segment.Build.DONE:
                promote_draft(segment, clock.now())
        elif _is_same(raw, segment.rule) and segment.parked_at is None:
            if segment.has_draft:
                _drop_draft(segment)
        else:
            self._start_build(segment, raw, publish)

    def _start_build(self, segment: Segment, raw: dict[str, Any], publishes: bool) -> None:
        set_draft(segment, raw, publishes=publishes, now=clock.now())
        self._started[segment.id] = segment


@transaction.atomic
def create_segment(workspace_id: UUID, **values: Any) -> Segment:
    """Create a segment of the values of `SegmentEdits.create`.

    Its rule is built in the background, then published unless `publish` is False.
    Raises InvalidCondition, InvalidSegmentName, SegmentExists, SegmentIsStatic.
    """
    edits = SegmentEdits(workspace_id)
    segment = edits.create(**values)
    edits.write()
    return segment


@transaction.atomic
def update_segment(workspace_id: UUID, segment: Segment, **values: Any) -> Segment:
    """Set what is not None of the values of `SegmentEdits.update`.

    Another rule becomes the draft, is built, and published if `publish` says so. Until then the old rule serves;
    giving the old rule again drops the draft. Raises InvalidCondition, InvalidSegmentName, SegmentExists,
    SegmentIsStatic, SegmentNotFound.
    """
    edits = SegmentEdits(workspace_id, [segment.id])
    changed = edits.update(segment, **values)
    edits.write()
    return changed


@transaction.atomic
def publish_segment(workspace_id: UUID, segment: Segment) -> Segment:
    """Promote the built draft. Raises SegmentHasNoDraft, SegmentNotBuilt."""
    segment = _hold(workspace_id, segment)
    if not segment.has_draft:
        raise SegmentHasNoDraft
    promote_draft(segment, clock.now())
    return _save(segment)


@transaction.atomic
def discard_draft(workspace_id: UUID, segment: Segment) -> Segment:
    """Drop the draft, built or not. Raises SegmentHasNoDraft."""
    segment = _hold(workspace_id, segment)
    if not segment.has_draft:
        raise SegmentHasNoDraft
    _drop_draft(segment)
    return _save(segment)


@transaction.atomic
def rebuild_segment(workspace_id: UUID, segment: Segment) -> Segment:
    """Build the draft again, or the serving rule if there is none, and publish as before.

    A parked segment serves again once this is published.
    Raises SegmentIsStatic, SegmentHasNoDraft, UnreadableRule.
    """
    edits = SegmentEdits(workspace_id, [segment.id])
    rebuilt = edits.rebuild(segment)
    edits.write()
    return rebuilt


Rebuilds = tuple[list[Segment], list[str]]
"""Segments that are being built again, and a sentence for each that cannot be."""


def rebuild_segments(workspace_id: UUID, segments: Sequence[Segment]) -> Rebuilds:
    """Build segments again, each on its own merits."""
    started: list[Segment] = []
    refused: list[str] = []
    for segment in segments:
        try:
            started.append(rebuild_segment(workspace_id, segment))
        except DomainError as error:
            refused.append(f"{segment.name}: {error.sentence}")
    return started, refused


@transaction.atomic
def recount_segments(workspace_id: UUID, segments: Sequence[Segment]) -> Rebuilds:
    """Build segments again, and count anew what their rules read of all time.

    Returns them, with those that read the same. For aggregates that are not what the stream says, after imports
    without effects, say.
    """
    bump_rules_version(workspace_id)
    chosen = {segment.id for segment in segments}
    reads = {
        segment: aggregates_of(segment) for segment in Segment.objects.in_workspace(workspace_id).dynamic()
    }
    wanted = {spec for segment, specs in reads.items() if segment.id in chosen for spec in specs}
    reset_aggregates(workspace_id, wanted)
    concerned = [
        segment for segment, specs in reads.items() if segment.id in chosen or not wanted.isdisjoint(specs)
    ]
    return rebuild_segments(workspace_id, concerned)


@transaction.atomic
def delete_segment(workspace_id: UUID, segment: Segment) -> None:
    """Delete a segment; its rows are purged in the background, and nothing is published. Raises SegmentInUse."""
    segment = _hold(workspace_id, segment)
    if users := _users_of(segment):
        raise SegmentInUse(users)
    retire(segment, segment.version)
    retire(segment, segment.draft_version)
    segment.delete()


def check_rule(
    workspace_id: UUID,
    raw: object,
    segment: Segment | None = None,
    *,
    siblings: Callable[[], Mapping[UUID, Segment]] | None = None,
) -> Rule:
    """Parse a segment's rule. Raises InvalidCondition, also for unknown segments and cycles.

    `siblings`: returns the workspace's segments, as they will be where several are edited together.
    """
    rule = parse_rule(raw, types=declared_types(workspace_id))
    if not rule.segment_ids:
        return rule
    found = siblings() if siblings is not None else None
    validate_segments(workspace_id, rule, raw, known=found)
    if segment is not None:
        if found is None:
            found = {row.id: row for row in Segment.objects.in_workspace(workspace_id)}
        for path, target in referenced_segment_ids(raw):
            if (chain := _chain(found, target, segment.id)) is not None:
                names = " → ".join([segment.name, *(found[segment_id].name for segment_id in chain)])
                raise InvalidCondition(path, f"The segment would build on itself: {names}.")
    return rule


def segment_warnings(segment: Segment) -> list[str]:
    """Return a sentence for each event or property in the latest rule that was never seen."""
    raw = segment.latest_rule
    try:
        return find_rule_warnings(segment.workspace_id, parse_rule(raw)) if raw is not None else []
    except InvalidCondition as error:
        return [error.of_stored]


def _chain(segments: Mapping[UUID, Segment], start: UUID, goal: UUID) -> list[UUID] | None:
    """Return the chain of segments from one to another, each building on the next, both ends included."""
    ways: dict[UUID, list[UUID]] = {start: [start]}
    waiting = [start]
    while waiting:
        at = waiting.pop()
        if at == goal:
            return ways[at]
        segment = segments.get(at)
        rules = (segment.rule, segment.draft_rule) if segment is not None else ()
        for target in {target for raw in rules for _, target in referenced_segment_ids(raw)} - ways.keys():
            ways[target] = [*ways[at], target]
            waiting.append(target)
    return None


def _hold(workspace_id: UUID, segment: Segment) -> Segment:
    held = _hold_all(workspace_id, [segment.id]).get(segment.id)
    if held is None:
        raise SegmentNotFound
    return held


def _hold_all(workspace_id: UUID, segment_ids: Collection[UUID]) -> dict[UUID, Segment]:
    """Wait for effects under the old rules, then lock segments: always in this order."""
    bump_rules_version(workspace_id)
    if not segment_ids:
        return {}
    held = Segment.objects.in_workspace(workspace_id).select_for_update().filter(id__in=segment_ids)
    return {segment.id: segment for segment in held.order_by("id")}


def _save(segment: Segment) -> Segment:
    segment.updated_at = clock.now()
    with _unique_names():
        segment.save()
    return segment


@contextmanager
def _unique_names() -> Iterator[None]:
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        if "segment_name_unique" not in str(error):
            raise
        raise SegmentExists from error


def _sound_name(name: str) -> str:
    name = name.strip()
    if not 0 < len(name) <= 255 or "\x00" in name:
        raise InvalidSegmentName
    return name


def _is_same(raw: Any, other: Any) -> bool:
    """Return whether two rules are the same JSON; in Python 1 equals true."""
    return json.dumps(raw, sort_keys=True) == json.dumps(other, sort_keys=True)


def _drop_draft(segment: Segment) -> None:
    retire(segment, segment.draft_version)
    segment.draft_rule = segment.draft_version = None
    segment.build = Segment.Build.NONE
    if segment.parked_at is None:
        segment.error = ""


def _users_of(segment: Segment) -> list[str]:
    """Return the names of segments and scoring rules that build on a segment, and of what upper apps have of it."""
    siblings = Segment.objects.in_workspace(segment.workspace_id).exclude(id=segment.id)
    rules = ScoringRule.objects.in_workspace(segment.workspace_id)
    named: list[tuple[str, Any]] = [(other.name, [other.rule, other.draft_rule]) for other in siblings]
    named += [(str(rule), [rule.condition]) for rule in rules]
    building = [
        name
        for name, written in named
        if any(target == segment.id for raw in written for _, target in referenced_segment_ids(raw))
    ]
    for path in settings.SEGMENT_USERS:
        building += import_string(path)(segment.workspace_id, segment.id)
    return sorted(building)
