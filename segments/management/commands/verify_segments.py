"""Compare memberships with the stream."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from config.db.backfill import Batch
from contacts.management.contact_batches import ContactBatches, add_sample
from segments.management.selection import add_selection, chosen_segments
from segments.models import Segment
from segments.verification import CHUNK, verify_batch, verify_whole_segments
from workspaces.management.backfill import BackfillCommand, CommandWork


class Command(BackfillCommand):
    """`verify_segments`: exit 1 where a membership is not what the stream says, and was not repaired."""

    help = "Evaluate contacts anew, by plain Python and from the stream, and compare with who is stored as a member."
    unit = "contacts"
    batch_size = CHUNK
    failed_name = "still differ or cannot be verified"
    failure = "Memberships are not what the stream says, or rules cannot be read."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_selection(parser)
        add_sample(parser)
        parser.add_argument(
            "--repair", action="store_true", help="Evaluate again, and publish, what differs."
        )

    def works(self, options: Mapping[str, Any]) -> Iterator[CommandWork]:
        """Yield each workspace that has segments."""
        repair = options["repair"] and not options["dry_run"]
        for workspace, segments in chosen_segments(options):
            batches = ContactBatches(workspace.id, options)
            verify = partial(_verify, workspace.id, segments, batches, repair)
            yield CommandWork(workspace.id, workspace.name, verify, total=batches.count, is_atomic=False)


def _verify(
    workspace_id: UUID,
    segments: Sequence[Segment],
    batches: ContactBatches,
    repair: bool,
    cursor: Any,
    limit: int,
) -> Batch:
    contact_ids, following = batches.after(cursor, limit)
    segment_ids = [segment.id for segment in segments]
    found = verify_batch(workspace_id, contact_ids, segment_ids=segment_ids, repair=repair)
    skipped: tuple[str, ...] = ()
    if following is None:
        if not batches.is_sample:
            found.add(verify_whole_segments(workspace_id, segment_ids=segment_ids, repair=repair))
        if found.skipped:
            unserved = ", ".join(found.skipped)
            skipped = (f"not looked at, for no rule of theirs serves now: {unserved}", *found.unreadable)
    names: dict[UUID, object] = {segment.id: segment.name for segment in segments}
    lines = (
        f"{names.get(row.segment_id, row.segment_id)}: contact {row.contact_id} {row.kind}"
        for row in found.differences
    )
    return Batch(
        following,
        done=len(contact_ids),
        failed=len(found.differences) - found.repaired + (len(found.unreadable) if following is None else 0),
        lines=(*lines, *skipped),
        counts={
            "segments": found.segments if following is None else 0,
            "differences": len(found.differences),
            "repaired": found.repaired,
        },
    )
