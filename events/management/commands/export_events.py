"""The command `export_events`: export events to a file."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from config.values.datetimes import parse_timestamp
from contacts.management.exports import ExportCommand
from events.imports.exports import EVENT_COLUMNS, EventSelection, estimate_events, exported_events
from events.names import CONTACT_CREATED, MESSAGE_OPEN


class Command(ExportCommand):
    """`export_events`: see docs/imports.md."""

    help = "Write events to a file that import_events takes."
    unit = "events"
    columns = EVENT_COLUMNS

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--from", dest="since", help="Only events from this time on (ISO 8601).")
        parser.add_argument("--to", dest="until", help="Only events before this time (ISO 8601).")
        parser.add_argument(
            "--name", action="append", default=[], help="Only events of this name; repeatable."
        )
        parser.add_argument(
            "--system",
            action="store_true",
            help=f"System events too, such as {MESSAGE_OPEN} and {CONTACT_CREATED}.",
        )

    def rows(self, workspace_id: UUID, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Return the events."""
        return exported_events(workspace_id, _selection(options))

    def total(self, workspace_id: UUID, options: Mapping[str, Any]) -> int:
        """Return about how many events there are: to count them takes long."""
        return estimate_events(workspace_id, _selection(options))


def _selection(options: Mapping[str, Any]) -> EventSelection:
    return EventSelection(
        since=_moment("--from", options["since"]),
        until=_moment("--to", options["until"]),
        names=options["name"],
        segment=options["segment"],
        with_system=options["system"],
    )


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    if (moment := parse_timestamp(text)) is None:
        raise CommandError(f"{option} must be a time such as 2026-11-02T12:00:00Z.")
    return moment
