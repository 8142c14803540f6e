"""The command `undo_merge`: undo merges of contacts."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from contacts.merging.merges import undo_merge
from contacts.merging.reassignment import finish_merge
from contacts.models import Merge


class Command(BaseCommand):
    """`undo_merge`: by the ids of merges, in any order."""

    help = "Undo merges of contacts: what came with the merged contact is its own again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("merges", nargs="+", metavar="MERGE", help="The id of a merge.")
        parser.add_argument("--dry-run", action="store_true", help="Tell what would be done, and do nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Undo each merge in a transaction of its own. Raises CommandError if any could not be undone."""
        undone = refused = 0
        for text in options["merges"]:
            merge = Merge.objects.filter(id=parse_uuid(text) or NO_ID).first()
            if merge is None or merge.undone_at is not None:
                problem = "there is no such merge" if merge is None else "was undone already"
                self.stderr.write(f"{text}: {problem}")
                refused += 1
                continue
            self.stdout.write(str(merge))
            try:
                if not options["dry_run"]:
                    finish_merge(undo_merge(merge.workspace_id, merge))
                undone += 1
            except (DomainError, OperationalError) as error:
                self.stderr.write(f"{text}: {error}".strip())
                refused += 1
        done = "would be undone" if options["dry_run"] else "undone"
        self.stdout.write(f"{undone:,} {done}, {refused:,} refused")
        if refused:
            raise CommandError("Some merges could not be undone.", returncode=1)
