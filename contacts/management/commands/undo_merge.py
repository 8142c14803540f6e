"""The command `undo_merge`: undo merges of contacts."""

from argparse import ArgumentParser
from typing import Any

from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from contacts.merging.merges import undo_merge
from contacts.merging.reassignment import finish_merge
from contacts.models import Merge
from workspaces.management.items import ItemCommand


class Command(ItemCommand):
    """`undo_merge`: by the ids of merges, in any order."""

    help = "Undo merges of contacts: what came with the merged contact is its own again."

    unit = "merges"
    failure = "Some merges could not be undone."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("merges", nargs="+", metavar="MERGE", help="The id of a merge.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Undo each merge in a transaction of its own. Raises CommandError if any could not be undone."""
        done = "would be undone" if options["dry_run"] else "undone"

        def undo(text: str) -> str:
            merge = Merge.objects.filter(id=parse_uuid(text) or NO_ID).first()
            if merge is None or merge.undone_at is not None:
                raise DomainError("there is no such merge" if merge is None else "was undone already")
            self.stdout.write(str(merge))
            if not options["dry_run"]:
                finish_merge(undo_merge(merge.workspace_id, merge))
            return done

        self.each(options["merges"], undo, outcomes=[done], total=len(options["merges"]))
