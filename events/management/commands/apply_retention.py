"""Delete old events."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from config import clock
from config.db.backfill import Batch
from config.ids import NO_ID
from config.values.datetimes import has_timezone, parse_timestamp
from events.stream.retention import (
    RetentionRule,
    count_events,
    delete_old_events,
    old_partitions,
    remove_months,
    start_of_kept_events,
)
from workspaces.management.backfill import BackfillCommand, CommandWork
from workspaces.management.selection import add_workspaces, chosen_workspaces


class Command(BackfillCommand):
    """`apply_retention`: of all workspaces by whole months, of one, or of some names, event by event."""

    help = "Delete events older than a time, with the decisions and, if wanted, the points that follow from them."
    unit = "events"
    failure = "Of some workspaces not everything was deleted; the same command goes on there."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_workspaces(parser)
        age = parser.add_mutually_exclusive_group(required=True)
        age.add_argument("--days", type=int, help="Events that happened more than so many days ago.")
        age.add_argument("--before", help="Events that happened before (ISO 8601, with a time zone).")
        parser.add_argument(
            "--event-name", action="append", default=[], help="Of this name only; as often as you like."
        )
        parser.add_argument(
            "--with-points", action="store_true", help="Delete what they earned too; else scores stay."
        )

    def works(self, options: Mapping[str, Any]) -> Iterator[CommandWork]:
        """Yield each workspace; then, of all of them, drop whole months."""
        before = _before(options)
        is_global = options["workspace"] is None and not options["event_name"]
        rule = RetentionRule(
            before=start_of_kept_events(before) if is_global else before,
            event_names=tuple(options["event_name"]),
            deletes_points=options["with_points"],
            keeps_events=is_global,
        )
        for workspace in chosen_workspaces(options):
            yield CommandWork(
                workspace.id,
                workspace.name,
                partial(_delete, workspace.id, rule),
                total=partial(count_events, workspace.id, rule),
            )
        if is_global:
            self._remove_months(rule.before, is_dry=options["dry_run"])

    def _remove_months(self, before: datetime, *, is_dry: bool) -> None:
        """Print what became of the months that are old. Raises CommandError where some were in use."""
        if is_dry:
            self.stdout.write(
                f"{len(old_partitions(before)):,} months are old (dry run: nothing was changed)"
            )
            return
        removed = remove_months(before, self.failed_workspaces)
        self.stdout.write(_counted(removed.dropped, "dropped"))
        if removed.emptied:
            self.stdout.write(_counted(removed.emptied, "emptied"))
        if removed.waiting:
            self.stderr.write(
                f"Months that are kept, for events in them wait for their effects: {', '.join(removed.waiting)}"
            )
        if removed.kept:
            # Without its event nothing finds a decision any more that was to go with it.
            self.stderr.write(
                f"Months that are kept, for what refers to their events is left: {', '.join(removed.kept)}"
            )
        if removed.busy:
            raise CommandError(
                f"Months that are kept, for others use them: {', '.join(removed.busy)}."
                " The same command goes on there.",
                returncode=1,
            )


def _counted(names: list[str], what: str) -> str:
    return f"{len(names):,} months {what}{''.join(f', {name}' for name in names)}"


def _before(options: Mapping[str, Any]) -> datetime:
    if options["days"] is not None:
        if options["days"] < 1:
            raise CommandError("--days must be at least 1.")
        # Whole days: the same command goes on, on the same day, where it stopped.
        return (clock.now() - timedelta(days=options["days"])).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
    before = parse_timestamp(options["before"])
    if before is None or not has_timezone(options["before"]) or before > clock.now():
        raise CommandError("--before must be a moment that has passed, such as 2026-11-02T12:00:00Z.")
    return before


def _delete(workspace_id: UUID, rule: RetentionRule, cursor: Any, limit: int) -> Batch:
    deleted = delete_old_events(workspace_id, rule, UUID(cursor) if cursor else NO_ID, limit)
    return Batch(
        str(deleted.after) if deleted.after else None, done=deleted.events, counts=deleted.dependents
    )
