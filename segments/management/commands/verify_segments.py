"""Compare memberships with the stream."""

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from segments.management.selection import add_selection, chosen_segments
from segments.models import Segment
from segments.verification import Verification, verify_segments

_SHOWN = 20


class Command(BaseCommand):
    """`verify_segments`: exit 1 where a membership is not what the stream says, and was not repaired."""

    help = "Evaluate contacts anew, by plain Python and from the stream, and compare with who is stored as a member."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_selection(parser)
        parser.add_argument(
            "--sample", type=int, help="Evaluate so many contacts of each workspace, at random."
        )
        parser.add_argument(
            "--repair", action="store_true", help="Evaluate again, and publish, what differs."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Verify workspace by workspace."""
        if options["sample"] is not None and options["sample"] < 1:
            raise CommandError("--sample must be at least 1.")
        is_sound = True
        for workspace, segments in chosen_segments(options):
            found = verify_segments(
                workspace.id,
                segment_ids=[segment.id for segment in segments],
                sample=options["sample"],
                repair=options["repair"],
                progress=self._progress(workspace.name),
            )
            self._show(workspace.name, found)
            is_sound = is_sound and found.is_sound
        if not is_sound:
            raise CommandError("Memberships are not what the stream says.", returncode=1)

    def _progress(self, name: str) -> Callable[[int, int], None]:
        def show(done: int, total: int) -> None:
            self.stderr.write(
                f"{name}: {done:,} of {total:,} contacts", ending="\r" if done < total else "\n"
            )
            self.stderr.flush()

        return show

    def _show(self, name: str, found: Verification) -> None:
        names: dict[UUID, str] = dict(
            Segment.objects.filter(
                id__in={difference.segment_id for difference in found.differences}
            ).values_list("id", "name")
        )
        for difference in found.differences[:_SHOWN]:
            self.stdout.write(
                f"{names.get(difference.segment_id, difference.segment_id)}:"
                f" contact {difference.contact_id} {difference.kind}"
            )
        if len(found.differences) > _SHOWN:
            self.stdout.write(f"… and {len(found.differences) - _SHOWN:,} more")
        if found.skipped:
            self.stdout.write(f"not looked at, for no rule of theirs serves now: {', '.join(found.skipped)}")
        self.stdout.write(
            f"{name}: {found.contacts:,} contacts, {found.segments:,} segments,"
            f" {len(found.differences):,} differences, {found.repaired:,} repaired"
        )
