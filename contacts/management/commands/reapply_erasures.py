"""The command `reapply_erasures`: after restoring a backup, erase again whoever was erased since."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.errors import DomainError
from contacts.erasure.records import reapply_erasures


class Command(BaseCommand):
    """`reapply_erasures`: exit 1 where somebody is left to be decided about; safe to run twice."""

    help = "Erase again whom a file of `export_erasures` says was erased. Run it before anything else does."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("--from", dest="file", type=Path, required=True, metavar="FILE")

    def handle(self, *args: Any, **options: Any) -> None:
        """Erase, and print one line of counts. Raises CommandError."""
        try:
            with options["file"].open() as lines:
                done = reapply_erasures(json.loads(line) for line in lines)
        except (DomainError, ValueError, KeyError, OSError) as error:
            raise CommandError(f"{options['file']} is of no use: {error}") from error
        for contact_id in done.undecided:
            self.stderr.write(
                f"{contact_id}: one person with contacts that no record names; erase it or undo its merge"
            )
        self.stdout.write(
            f"{done.records:,} records, {done.tombstones:,} tombstones added, {done.erased:,} persons erased again"
        )
        if done.undecided:
            raise CommandError("Some persons are left to be decided about.", returncode=1)
