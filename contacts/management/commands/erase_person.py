"""The command `erase_person`: remove everything about persons, or let them be stored again."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.db import transaction

from contacts.crud import find_contact
from contacts.erasure.erasures import erase_person
from contacts.identifiers import normalize_identifier
from contacts.models import Erasure
from contacts.tombstones import delete_tombstones
from workspaces.management.items import ItemCommand
from workspaces.management.selection import add_workspace, named_workspace
from workspaces.models import Workspace


class Command(ItemCommand):
    """`erase_person`: by ids or identity; prints a receipt each."""

    help = "Remove everything about persons, for good; their identifiers are not stored again."

    unit = "persons"
    failure = "Some persons were not erased."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("persons", nargs="+", metavar="PERSON", help="A contact's id, or its identity.")
        add_workspace(parser)
        parser.add_argument("--by", default="erase_person", help="Who erases, for the record.")
        parser.add_argument(
            "--lift",
            metavar="KIND",
            help="Erase nobody: let the persons with these identifiers, emails say, be stored again.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Erase one person after the other. Raises CommandError if any was refused."""
        workspace = named_workspace(options)
        if options["lift"]:
            self._lift(workspace.id, options["lift"], options["persons"], is_dry=options["dry_run"])
            return
        done = "would be erased" if options["dry_run"] else "erased"

        def erase(text: str) -> str:
            erasure = _erase(workspace, text, by=options["by"], dry_run=options["dry_run"])
            counts = ", ".join(f"{count:,} {name}" for name, count in sorted(erasure.removed.items()))
            self.stdout.write(f"{text}: {counts}" if options["dry_run"] else f"{erasure.id}: {counts}")
            return done

        self.each(options["persons"], erase, outcomes=[done], total=len(options["persons"]))

    def _lift(self, workspace_id: UUID, kind: str, texts: list[str], *, is_dry: bool) -> None:
        keys = [(kind, value) for text in texts if (value := normalize_identifier(kind, text))]
        with transaction.atomic():
            lifted = delete_tombstones(workspace_id, keys)
            transaction.set_rollback(is_dry)
        may = "would be allowed" if is_dry else "may be stored"
        self.stdout.write(f"{lifted:,} {may} again, {len(texts) - lifted:,} were never erased")


def _erase(workspace: Workspace, text: str, *, by: str, dry_run: bool) -> Erasure:
    if not dry_run:
        return erase_person(workspace.id, find_contact(workspace, text), by=by)
    with transaction.atomic():
        erasure = erase_person(workspace.id, find_contact(workspace, text), by=by)
        transaction.set_rollback(True)
    return erasure
