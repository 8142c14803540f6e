"""The base of `import_contacts` and `import_events`."""

import gc
import os
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Final
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from config.db.errors import storable_error
from config.errors import DomainError
from config.files.mapping import ColumnMapping
from config.files.reading import InputFile, open_file
from config.runtime.garbage_collection import freeze_loaded_objects
from contacts.imports.kinds import ImportKind
from contacts.imports.maps import named_map
from contacts.imports.runner import ImportTerms
from contacts.imports.runs import import_file, try_file
from contacts.models import Import
from workspaces.management.backfill import INTERRUPTED, interruption
from workspaces.management.progress import ProgressDisplay
from workspaces.management.selection import add_workspace, named_workspace


class ImportCommand(BaseCommand):
    """Imports a file of rows. Exits with 1 where rows were refused or the file failed, 130 when interrupted."""

    kind: ImportKind[Any]
    nouns: ClassVar[tuple[str, str]]
    """What rows that are new are called, and those that are not."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "file", metavar="FILE", help="CSV, JSON Lines, gzip of both, or Parquet; - is standard input."
        )
        add_workspace(parser)
        parser.add_argument(
            "--map",
            metavar="FILE",
            help="Which column is which field, in YAML; or the name of a vendor, whose map comes along.",
        )
        parser.add_argument(
            "--effects",
            choices=Import.Effects.values,
            default=Import.Effects.SCORES_AND_SEGMENTS,
            help="What may follow from the rows; only `all` starts campaigns. By default %(default)s.",
        )
        parser.add_argument(
            "--name", default="", help="Stands for the content: the same name is the same file."
        )
        parser.add_argument(
            "--refused", type=Path, metavar="FILE", help="Of refused rows; by default next to the input."
        )
        parser.add_argument(
            "--format", choices=["csv", "jsonl", "parquet"], help="By default it is recognised."
        )
        parser.add_argument(
            "--encoding", default="", help="Of texts; by default UTF-8, or UTF-16 if it is that."
        )
        parser.add_argument("--delimiter", default="", help="Of CSV; by default it is recognised.")
        parser.add_argument(
            "--batch-size",
            type=int,
            help=f"Rows of one transaction, at most; {self.kind.batch_rows:,} if not given.",
        )
        parser.add_argument(
            "--jobs",
            type=int,
            default=None,
            help="Processes that record at the same time; by default two for a large file on several processors.",
        )
        parser.add_argument("--dry-run", action="store_true", help="Decide all rows, and record nothing.")
        parser.add_argument(
            "--restart", action="store_true", help="Begin anew, not where an earlier run has stopped."
        )

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as a process of its own, which leaves the processor to those who answer requests."""
        os.nice(_NICENESS)
        super().run_from_argv(argv)

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, and print a line of counts. Raises CommandError."""
        workspace = named_workspace(options)
        if options["batch_size"] is not None and options["batch_size"] < 1:
            raise CommandError("--batch-size must be at least 1.")
        if options["jobs"] is not None and options["jobs"] < 1:
            raise CommandError("--jobs must be at least 1.")
        try:
            mapping = self._mapping(options["map"])
            file = open_file(
                options["file"],
                form=options["format"],
                encoding=options["encoding"],
                delimiter=options["delimiter"].replace("\\t", "\t"),
            )
        except DomainError as error:
            raise CommandError(error.sentence) from error
        if not gc.get_freeze_count():
            freeze_loaded_objects(_YOUNG)
        try:
            self._import(workspace.id, file, self._terms(file, mapping, options), options)
        finally:
            file.close()

    def _terms(self, file: InputFile, mapping: ColumnMapping, options: dict[str, Any]) -> ImportTerms:
        return ImportTerms(
            mapping=mapping,
            effects=Import.Effects(options["effects"]),
            name=options["name"],
            refused_file=options["refused"],
            batch_rows=options["batch_size"],
            jobs=options["jobs"] or _usual_jobs(file),
        )

    def _mapping(self, named: str | None) -> ColumnMapping:
        """Return the map of a file, or a vendor's. Raises InvalidMapping."""
        return ColumnMapping(self.kind.fields) if named is None else named_map(self.kind, named)

    def _import(
        self, workspace_id: UUID, file: InputFile, terms: ImportTerms, options: dict[str, Any]
    ) -> None:
        label = Path(file.path).name if file.path != "-" else "standard input"
        with interruption() as interrupted, ProgressDisplay(self.stderr, label, "rows") as display:
            has_begun = False

            def show(run: Import) -> bool:
                nonlocal has_begun
                total = int(run.rows / run.progress) if run.progress and run.rows else None
                if not has_begun:
                    display.begin(run.rows, total)
                    has_begun = True
                display.update(run.rows, total)
                return not interrupted

            run, failure = self._run(workspace_id, file, terms, options, show)
        if run is None:
            raise CommandError(f"{label}: {failure}", returncode=1)
        self.stdout.write(f"{label}: {self._counts(run, options['dry_run'])}")
        if failure:
            raise CommandError(f"{label}: {failure}", returncode=1)
        if interrupted:
            raise CommandError(
                "Interrupted. The same command goes on where this one stopped.", returncode=INTERRUPTED
            )
        if run.refused:
            where = "" if options["dry_run"] else f"; they are in {run.refused_file}"
            raise CommandError(f"{run.refused:,} rows were refused{where}.", returncode=1)

    def _run(
        self,
        workspace_id: UUID,
        file: InputFile,
        terms: ImportTerms,
        options: dict[str, Any],
        show: Callable[[Import], bool],
    ) -> tuple[Import | None, str]:
        """Return the import with its counts, and what ended it early."""
        last: list[Import] = []

        def note(run: Import) -> bool:
            last[:] = [run]
            return show(run)

        try:
            if options["dry_run"]:
                run, causes = try_file(workspace_id, file, self.kind, terms, on_progress=note)
                for cause in causes:
                    self.stderr.write(cause)
                return run, ""
            return import_file(
                workspace_id,
                file,
                self.kind,
                terms,
                on_progress=note,
                on_begin=lambda sentence: self.stderr.write(f"{sentence}."),
                restart=options["restart"],
            ), ""
        except DomainError as error:
            return (last[0] if last else None), error.sentence
        except (Error, OSError) as error:
            return (last[0] if last else None), storable_error(error)

    def _counts(self, run: Import, is_dry: bool) -> str:
        new, known = self.nouns
        dry = " (dry run: nothing was recorded)" if is_dry else ""
        left_out = f", {run.left_out:,} left out" if run.left_out else ""
        return (
            f"{run.rows:,} rows, {run.recorded:,} {new}, {run.known:,} {known}, {run.refused:,} refused"
            f"{left_out}{dry}"
        )


def _usual_jobs(file: InputFile) -> int:
    """Return how many processes are worth their start."""
    if file.is_stream or Path(file.path).stat().st_size < _LARGE_BYTES:
        return 1
    return min(os.cpu_count() or 1, _USUAL_JOBS)


_NICENESS: Final = 10
_YOUNG: Final = 200_000
"""Rows that are read ahead are many objects, and none of them is garbage."""
_LARGE_BYTES: Final = 4_000_000
_USUAL_JOBS: Final = 2
