"""The command `erase_person`: remove everything about persons, or let them be stored again."""

from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, transaction

from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from contacts.crud import find_contact
from contacts.erasure.erasures import erase_person
from contacts.identifiers import normalize_identifier
from contacts.models import Erasure
from contacts.tombstones import delete_tombstones
from workspaces.models import Workspace


class Command(BaseCommand):
    """`erase_person`: by ids or identity; prints a receipt each."""

    help = "Remove everything about persons, for good; their identifiers are not stored again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("persons", nargs="+", metavar="PERSON", help="A contact's id, or its identity.")
        parser.add_argument("--workspace", required=True, help="The id of the workspace.")
        parser.add_argument("--by", default="erase_person", help="Who erases, for the record.")
        parser.add_argument("--dry-run", action="store_true", help="Tell what would be removed.")
        parser.add_argument(
            "--lift",
            metavar="KIND",
            help="Erase nobody: let the persons with these identifiers, emails say, be stored again.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Erase one person after the other. Raises CommandError if any was refused."""
        workspace = Workspace.objects.filter(id=parse_uuid(options["workspace"]) or NO_ID).first()
        if workspace is None:
            raise CommandError("There is no such workspace.")
        if options["lift"]:
            self._lift(workspace.id, options["lift"], options["persons"])
            return
        refused = 0
        for text in options["persons"]:
            try:
                erasure = _erase(workspace, text, by=options["by"], dry_run=options["dry_run"])
            except (DomainError, OperationalError) as error:
                refused += 1
                self.stderr.write(f"{text}: {error}".strip())
                continue
            counts = ", ".join(f"{count:,} {name}" for name, count in sorted(erasure.removed.items()))
            self.stdout.write(f"{text}: {counts}" if options["dry_run"] else f"{erasure.id}: {counts}")
        done = "would be erased" if options["dry_run"] else "erased"
        self.stdout.write(f"{len(options['persons']) - refused:,} {done}, {refused:,} refused")
        if refused:
            raise CommandError("Some persons were not erased.", returncode=1)

    def _lift(self, workspace_id: UUID, kind: str, texts: list[str]) -> None:
        keys = [(kind, value) for text in texts if (value := normalize_identifier(kind, text))]
        lifted = delete_tombstones(workspace_id, keys)
        self.stdout.write(f"{lifted:,} may be stored again, {len(texts) - lifted:,} were never erased")


def _erase(workspace: Workspace, text: str, *, by: str, dry_run: bool) -> Erasure:
    if not dry_run:
        return erase_person(workspace.id, find_contact(workspace, text), by=by)
    with transaction.atomic():
        erasure = erase_person(workspace.id, find_contact(workspace, text), by=by)
        transaction.set_rollback(True)
    return erasure
