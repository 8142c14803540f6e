"""The command `import_contacts`: import contacts from a file."""

from contacts.imports.contacts import ContactImport
from contacts.management.imports import ImportCommand


class Command(ImportCommand):
    """`import_contacts`: see docs/imports.md."""

    help = "Make and change contacts by the rows of a file; run again, it goes on where it stopped."
    kind = ContactImport()
    nouns = ("made", "known")
