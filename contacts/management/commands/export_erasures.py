"""The command `export_erasures`: write all erasures to a file, to be kept apart from backups."""

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand

from contacts.erasure.records import erasure_records


class Command(BaseCommand):
    """`export_erasures`: all erasures of all workspaces, for `reapply_erasures` after a restore."""

    help = "Write every erasure and tombstone to a file, as lines of JSON that name nobody."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        parser.add_argument("file", type=Path, metavar="FILE", help="Replaced once all is written.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write beside the file, then put it in its place."""
        draft = options["file"].with_name(f"{options['file'].name}.new")
        draft.touch(mode=0o600)
        count = 0
        with draft.open("w") as lines:
            for record in erasure_records():
                lines.write(json.dumps(record) + "\n")
                count += record["kind"] != "keys"
        draft.replace(options["file"])
        self.stdout.write(f"{count:,} records")
