"""The base of `export_contacts` and `export_events`."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from config.errors import DomainError
from config.files.writing import form_of, write_rows
from workspaces.management.progress import ProgressDisplay
from workspaces.management.selection import add_workspace, named_workspace


class ExportCommand(BaseCommand):
    """Exports rows to a file, as one moment has them."""

    unit: ClassVar[str]
    columns: ClassVar[Sequence[str]]

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "file", metavar="FILE", help="Replaced once all is written; .gz packs it, - is standard output."
        )
        add_workspace(parser)
        parser.add_argument(
            "--format", choices=["csv", "jsonl", "parquet"], help="By default what the file's name says."
        )
        parser.add_argument("--segment", default="", help="The id of a segment: only its contacts.")

    def rows(self, workspace_id: UUID, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Return the rows that the options ask for. Raises CommandError where these are wrong."""
        raise NotImplementedError

    def total(self, workspace_id: UUID, options: Mapping[str, Any]) -> int:
        """Return how many rows there will be, or an estimate, for the progress."""
        raise NotImplementedError

    def handle(self, *args: Any, **options: Any) -> None:
        """Export, and print how many. Raises CommandError."""
        workspace = named_workspace(options)
        path: str = options["file"]
        rows = self.rows(workspace.id, options)
        try:
            with ProgressDisplay(self.stderr, Path(path).name, self.unit) as display:
                form = options["format"] or form_of(path)
                total = self.total(workspace.id, options)
                display.begin(0, total)
                count = write_rows(path, form, self.columns, _shown(rows, display, total))
                display.update(count, count)
        except DomainError as error:
            raise CommandError(error.sentence) from error
        except OSError as error:
            raise CommandError(f"{path} cannot be written: {error.strerror or error}.") from error
        (self.stderr if path == "-" else self.stdout).write(f"{count:,} {self.unit}")


def _shown(rows: Iterator[dict[str, Any]], display: ProgressDisplay, total: int) -> Iterator[dict[str, Any]]:
    for count, row in enumerate(rows, 1):
        if count % 1_000 == 0:
            display.update(count, total)
        yield row
