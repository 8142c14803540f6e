"""The command `import_contacts`: import contacts from a file."""

from argparse import ArgumentParser
from typing import Any

from contacts.imports.contacts import ContactImport
from contacts.management.imports import ImportCommand


class Command(ImportCommand):
    """`import_contacts`: see docs/imports.md."""

    help = "Make and change contacts by the rows of a file; run again, it goes on where it stopped."
    kind = ContactImport()
    nouns = ("made", "known")

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument(
            "--consents",
            choices=["newer", "overwrite"],
            default="newer",
            help="What the file says of consents counts where nothing newer is known; or whatever is known.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Import, and print a line of counts. Raises CommandError."""
        self.kind = ContactImport(overwrites_consents=options["consents"] == "overwrite")
        super().handle(*args, **options)
