"""The command `import_events`: import events from a file."""

from contacts.management.imports import ImportCommand
from events.imports.events import EventImport


class Command(ImportCommand):
    """`import_events`: see docs/imports.md."""

    help = "Record the rows of a file as events of their own time; run again, it goes on where it stopped."
    kind = EventImport()
    nouns = ("recorded", "repeated")
