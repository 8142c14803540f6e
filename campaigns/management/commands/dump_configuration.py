"""The command `dump_configuration`: write a workspace's configuration into a folder."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from campaigns.configuration.folders import write_folder
from campaigns.configuration.kinds import KINDS
from campaigns.configuration.plans import dump_configuration
from campaigns.management.configuration import add_folder
from config.errors import DomainError
from workspaces.management.selection import named_workspace


class Command(BaseCommand):
    """`dump_configuration FOLDER --workspace ID`: a YAML file for each object, in sub-folders by kind."""

    help = (
        "Write a workspace's definitions, fields, channels, templates, segments, rules and campaigns as YAML."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_folder(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the files, remove those of objects that are gone, and print the counts. Raises CommandError."""
        try:
            files = dump_configuration(named_workspace(options).id)
            removed = write_folder(options["folder"], files, {kind.folder: kind.key for kind in KINDS})
        except (DomainError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{len(files):,} files written, {removed:,} removed")
