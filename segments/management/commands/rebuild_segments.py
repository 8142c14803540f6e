"""Build segments anew."""

from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from config.db.backfill import Batch
from contacts.models import Contact
from events.stream.outbox import LANE_COUNT
from segments.build import BUILDS, PUBLICATIONS
from segments.definitions import Rebuilds, get_segment, rebuild_segments, recount_segments
from segments.management.selection import add_selection, chosen_segments
from segments.models import Segment
from workspaces.management.backfill import BackfillCommand, CommandWork

_SLICE_SECONDS = 1.0


class Command(BackfillCommand):
    """`rebuild_segments`: by the workers, or here and now with `--wait`."""

    help = "Hold the rules of segments against every contact anew; what serves goes on meanwhile."
    unit = "contacts"
    failure = "Some segments were not built."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_selection(parser)
        parser.add_argument(
            "--wait", action="store_true", help="Do the work in this process, and return when it is done."
        )
        parser.add_argument(
            "--recount",
            action="store_true",
            help="Count anew, from the stream, what rules read of all time; all that read the same are built.",
        )

    def works(self, options: Mapping[str, Any]) -> Iterator[CommandWork]:
        """Yield each workspace that has segments with rules."""
        for workspace, segments in chosen_segments(options):
            if dynamic := [segment for segment in segments if not segment.is_static]:
                start = recount_segments if options["recount"] else rebuild_segments
                work = partial(_rebuild, workspace.id, dynamic, start, options["wait"], options["dry_run"])
                total = partial(_total, workspace.id, len(dynamic)) if options["wait"] else None
                yield CommandWork(workspace.id, workspace.name, work, total=total, is_atomic=False)


def _total(workspace_id: UUID, segments: int) -> int:
    return Contact.objects.in_workspace(workspace_id).canonical().count() * segments


def _rebuild(
    workspace_id: UUID,
    segments: Sequence[Segment],
    start: Callable[[UUID, Sequence[Segment]], Rebuilds],
    wait: bool,
    is_dry: bool,
    cursor: Any,
    limit: int,
) -> Batch:
    """Start all builds, then work on the first that is not done; the cursor has what is left, and where it is."""
    if cursor is None:
        refused: Sequence[str] = ()
        if not is_dry:
            segments, refused = start(workspace_id, segments)
        left = [str(segment.id) for segment in segments]
        return Batch(
            {"left": left, "lane": 0} if wait and left and not is_dry else None,
            failed=len(refused),
            lines=tuple(refused),
            counts={"builds started": len(left)},
        )
    return _work_on_lane(workspace_id, cursor)


def _work_on_lane(workspace_id: UUID, cursor: dict[str, Any]) -> Batch:
    """Work on a lane for a second; lanes are counted twice, to be built and then to be published."""
    segment_id, place = UUID(cursor["left"][0]), cursor["lane"]
    before = get_segment(workspace_id, segment_id).build_evaluated
    work = BUILDS if place < LANE_COUNT else PUBLICATIONS
    is_through = work.run_lane(workspace_id, segment_id, place % LANE_COUNT, at_most_seconds=_SLICE_SECONDS)
    segment = get_segment(workspace_id, segment_id)
    done = max(segment.build_evaluated - before, 0)
    if segment.build == Segment.Build.FAILED:
        line = f"{segment.name}: {segment.error}"
        return Batch(_next_segment(cursor), done=done, failed=1, lines=(line,))
    if not is_through:
        return Batch(cursor, done=done)
    if place + 1 < 2 * LANE_COUNT:
        return Batch({**cursor, "lane": place + 1}, done=done)
    return Batch(_next_segment(cursor), done=done, counts={"segments built": 1})


def _next_segment(cursor: dict[str, Any]) -> dict[str, Any] | None:
    left = cursor["left"][1:]
    return {"left": left, "lane": 0} if left else None
