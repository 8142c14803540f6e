"""The command `audit_effects`: check that accepted events are stored and their effects complete."""

from argparse import ArgumentParser
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from campaigns.reporting.audit import Inconsistency, check_consistency
from config import clock
from config.ids import parse_uuid
from workspaces.management.selection import add_workspaces, chosen_workspaces
from workspaces.models import Workspace


class Command(BaseCommand):
    """Audit the effects of events; exit status 1 if there are gaps."""

    help = (
        "Hold accepted events against the stream, and the stream against all that follows; print every gap."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_workspaces(parser)
        parser.add_argument(
            "--accepted", help="A file with the ids of events, one a line, that a client was told were taken."
        )
        parser.add_argument(
            "--grace-seconds", type=int, default=60, help="What came since is still under way, and no gap."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Audit workspace by workspace. Raises CommandError if there are gaps."""
        workspaces = chosen_workspaces(options)
        if options["accepted"] and len(workspaces) > 1:
            raise CommandError("Accepted events are of one workspace: name it with --workspace.")
        found = 0
        for workspace in workspaces:
            audit = check_consistency(
                workspace.id,
                now=clock.now(),
                grace=timedelta(seconds=options["grace_seconds"]),
                report=partial(self._print, workspace),
                accepted=_ids(options["accepted"]) if options["accepted"] else (),
            )
            counts = ", ".join(f"{count:,} {name}" for name, count in sorted(audit.counts.items()))
            self.stdout.write(f"{workspace.name}: {counts or 'nothing'}; {audit.inconsistencies:,} gaps")
            found += audit.inconsistencies
        if found:
            raise CommandError("There are gaps.", returncode=1)

    def _print(self, workspace: Workspace, gap: Inconsistency) -> None:
        self.stdout.write(f"{workspace.name}: {gap}")


def _ids(path: str) -> Iterator[UUID]:
    with Path(path).open() as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                event_id = parse_uuid(line.strip())
                if event_id is None:
                    raise CommandError(f"Line {number} is no id.")
                yield event_id
