"""Re-score contacts from the stream."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from config.db.backfill import Batch
from config.ids import NO_ID
from config.values.datetimes import has_timezone, parse_timestamp
from contacts.models import Contact
from events.processing.passes import lock_lane
from events.stream.outbox import LANE_COUNT
from scoring.rescoring import rescore_next
from scoring.rule_matching import unreadable_rules
from workspaces.management.backfill import BackfillCommand, CommandWork
from workspaces.management.selection import add_workspaces, chosen_workspaces


class Command(BackfillCommand):
    """`rescore_contacts`: a transaction per batch, which holds the lane of its contacts."""

    help = (
        "Evaluate the events of contacts again by the rules that hold for them, and recalculate their scores."
    )
    unit = "contacts"
    failure = "What rules gave that cannot be read stays as it was."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_workspaces(parser)
        parser.add_argument(
            "--since", help="Only contacts with an event that happened since (ISO 8601, with a time zone)."
        )

    def works(self, options: Mapping[str, Any]) -> Iterator[CommandWork]:
        """Yield each workspace, lane by lane."""
        since = _moment(options["since"]) if options["since"] else None
        for workspace in chosen_workspaces(options):
            yield CommandWork(
                workspace.id,
                workspace.name,
                partial(_rescore, workspace.id, since),
                total=Contact.objects.in_workspace(workspace.id).canonical().count if since is None else None,
                hold=partial(_hold, workspace.id),
            )


def _moment(text: str) -> datetime:
    moment = parse_timestamp(text)
    if moment is None or not has_timezone(text):
        raise CommandError("--since must be a moment such as 2026-11-02T12:00:00Z.")
    return moment


def _hold(workspace_id: UUID, cursor: Any) -> Any:
    return lock_lane(workspace_id, cursor[0] if cursor else 0)


def _rescore(workspace_id: UUID, since: datetime | None, cursor: Any, limit: int) -> Batch:
    """Re-score the next contacts; the cursor is the lane, and the last contact in it."""
    lane, after = (cursor[0], UUID(cursor[1])) if cursor else (0, NO_ID)
    done = rescore_next(workspace_id, lane, after, limit, since=since)
    if done.after is None:
        lane += 1
    unreadable = unreadable_rules(workspace_id) if cursor is None else []
    return Batch(
        [lane, str(done.after or NO_ID)] if lane < LANE_COUNT else None,
        done=done.contacts,
        failed=len(unreadable),
        lines=tuple(unreadable),
        counts={"scores changed": done.changed},
    )
