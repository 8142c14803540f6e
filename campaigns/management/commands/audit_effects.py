"""The command `audit_effects`: check that accepted events are stored and their effects complete."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from campaigns.reporting.audit import CHECKS, check_consistency
from config import clock
from config.db.backfill import Batch
from config.ids import parse_uuid
from workspaces.management.backfill import BackfillCommand, CommandWork
from workspaces.management.selection import add_workspaces, chosen_workspaces


class Command(BackfillCommand):
    """Audit the effects of events, one check after the other; exit status 1 if there are gaps."""

    help = (
        "Hold accepted events against the stream, and the stream against all that follows; print every gap."
    )
    unit = "checks"
    failed_name = "gaps"
    failure = "There are gaps."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_workspaces(parser)
        parser.add_argument(
            "--accepted", help="A file with the ids of events, one a line, that a client was told were taken."
        )
        parser.add_argument(
            "--grace-seconds", type=int, default=60, help="What came since is still under way, and no gap."
        )

    def works(self, options: Mapping[str, Any]) -> Iterator[CommandWork]:
        """Yield each workspace."""
        workspaces = chosen_workspaces(options)
        if options["accepted"] and len(workspaces) > 1:
            raise CommandError("Accepted events are of one workspace: name it with --workspace.")
        for workspace in workspaces:
            check = partial(_check, workspace.id, workspace.name, options)
            yield CommandWork(workspace.id, workspace.name, check, total=CHECKS.__len__, is_atomic=False)


def _check(workspace_id: UUID, name: str, options: Mapping[str, Any], cursor: Any, limit: int) -> Batch:
    """Do the next check; the cursor is its place."""
    place = cursor or 0
    gaps: list[str] = []
    audit = check_consistency(
        workspace_id,
        now=clock.now(),
        grace=timedelta(seconds=options["grace_seconds"]),
        report=lambda gap: gaps.append(f"{name}: {gap}"),
        accepted=_ids(options["accepted"]) if options["accepted"] else (),
        checks=CHECKS[place : place + 1],
    )
    return Batch(
        place + 1 if place + 1 < len(CHECKS) else None,
        done=1,
        failed=audit.inconsistencies,
        lines=tuple(gaps),
        counts=audit.counts,
    )


def _ids(path: str) -> Iterator[UUID]:
    with Path(path).open() as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                event_id = parse_uuid(line.strip())
                if event_id is None:
                    raise CommandError(f"Line {number} is no id.")
                yield event_id
