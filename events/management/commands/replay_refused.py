"""The command `replay_refused`: record refused events whose cause is mended."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from config.db.backfill import Batch
from events.models import EffectsLevel
from events.replay import replay_batch, replayable
from workspaces.management.backfill import BackfillCommand, CommandWork
from workspaces.management.selection import add_workspaces, chosen_workspaces


class Command(BackfillCommand):
    """`replay_refused`: a transaction per batch; what is recorded leaves the quarantine in it."""

    help = "Record refused events whose cause is mended, each once, with its own time."
    unit = "events"
    failure = "Some were refused again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_workspaces(parser)
        parser.add_argument("--type", dest="name", help="Only events of this type.")
        parser.add_argument("--code", help="Only those refused for this cause, such as unknown_property.")
        parser.add_argument(
            "--effects",
            choices=["none", "scores-and-segments", "all"],
            help="What may follow; by default all, but of those older than three days no campaign.",
        )

    def works(self, options: Mapping[str, Any]) -> Iterator[CommandWork]:
        """Yield each workspace."""
        level = EffectsLevel.named(options["effects"]) if options["effects"] else None
        for workspace in chosen_workspaces(options):
            rows = partial(replayable, workspace.id, name=options["name"], code=options["code"])
            yield CommandWork(
                workspace.id,
                workspace.name,
                partial(_replay, workspace.id, rows(), level),
                total=rows().count,
            )


def _replay(workspace_id: UUID, rows: Any, level: EffectsLevel | None, cursor: Any, limit: int) -> Batch:
    """Replay the next ones; the cursor is the last one's id."""
    replayed = replay_batch(
        workspace_id, rows, after=UUID(cursor) if cursor else None, limit=limit, level=level
    )
    is_last = replayed.total < limit
    return Batch(
        None if is_last else str(replayed.last_id),
        done=replayed.total,
        failed=replayed.refused,
        counts={"recorded": replayed.recorded, "known already": replayed.duplicates},
    )
