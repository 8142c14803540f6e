"""The command `export_person`: write out all that is stored about a person."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from config.errors import DomainError
from contacts.crud import find_contact
from contacts.erasure.erasures import write_export
from workspaces.management.selection import add_workspace, named_workspace


class Command(BaseCommand):
    """`export_person`: JSON on the standard output."""

    help = "Print all that is stored about a person as JSON."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("person", help="A contact's id, or its identity.")
        add_workspace(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Export one person. Raises CommandError if there is none."""
        workspace = named_workspace(options)
        try:
            contact = find_contact(workspace, options["person"])
            tables = write_export(
                workspace.id, contact, lambda part: self.stdout.write(part.decode(), ending="")
            )
        except DomainError as error:
            raise CommandError(error.message) from error
        self.stdout.write("")
        self.stderr.write(f"{tables:,} tables")
