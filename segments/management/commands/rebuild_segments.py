"""Build segments anew."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from events.stream.outbox import LANE_COUNT
from segments.build import build_lane, progress_of, publish_lane
from segments.definitions import get_segment, rebuild_segment
from segments.management.selection import add_selection, chosen_segments
from segments.models import Segment

_SLICE_SECONDS = 1.0


class Command(BaseCommand):
    """`rebuild_segments`: by the workers, or here and now with `--wait`."""

    help = "Hold the rules of segments against every contact anew; what serves goes on meanwhile."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_selection(parser)
        parser.add_argument(
            "--wait", action="store_true", help="Do the work in this process, and return when it is done."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Start every build, then do the work if that is wanted."""
        started = [
            rebuild_segment(workspace.id, segment)
            for workspace, segments in chosen_segments(options)
            for segment in segments
            if not segment.is_static
        ]
        if not options["wait"]:
            self.stdout.write(f"{len(started):,} builds started; the workers do them.")
            return
        failed = [segment.name for segment in started if not self._build(segment)]
        self.stdout.write(f"{len(started) - len(failed):,} segments built, {len(failed):,} failed")
        if failed:
            raise CommandError(f"Not built: {', '.join(failed)}.", returncode=1)

    def _build(self, segment: Segment) -> bool:
        """Build a segment and show what that changed. Returns whether it succeeded."""
        workspace_id, segment_id = segment.workspace_id, segment.id
        for work in (build_lane, publish_lane):
            for lane in range(LANE_COUNT):
                after: UUID | None = None
                word = "more"
                while word == "more":
                    word, after = work(
                        workspace_id, segment_id, lane, after=after, at_most_seconds=_SLICE_SECONDS
                    )
                    self._show(get_segment(workspace_id, segment_id))
        self.stderr.write("")
        return get_segment(workspace_id, segment_id).build != Segment.Build.FAILED

    def _show(self, segment: Segment) -> None:
        progress = progress_of(segment)
        state = "telling who entered and left" if progress.is_publishing else f"{progress.fraction:.0%} built"
        self.stderr.write(f"{segment.name}: {state}", ending="\r")
        self.stderr.flush()
