"""The command `plan_configuration`: what an application of a folder would change, and whom."""

import sys
from argparse import ArgumentParser
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError, CommandParser

from campaigns.configuration.impact import describe_impact
from campaigns.configuration.plans import plan_configuration
from campaigns.management.configuration import (
    add_folder,
    add_prune,
    print_counts,
    read_documents,
)
from config.errors import DomainError
from workspaces.management.selection import named_workspace

DIFFERENT = 2
"""The exit status where the folder and the workspace differ."""


class Command(BaseCommand):
    """`plan_configuration FOLDER --workspace ID`; exit status 0: nothing differs, 2: something does, 1: an error."""

    help = "Print how a workspace differs from a folder; nothing is changed. Exit status 2 where it does."

    def create_parser(self, prog_name: str, subcommand: str, **options: Any) -> CommandParser:
        """Return the parser; wrong options are an error, whose status is not the one of differences."""
        parser = super().create_parser(prog_name, subcommand, **options)

        def refuse(message: str) -> NoReturn:
            if not parser.called_from_command_line:
                raise CommandError(message)
            parser.exit(1, f"{parser.format_usage()}{parser.prog}: {message}\n")

        parser.error = refuse  # type: ignore[method-assign]  # argparse has no other way
        return parser

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_folder(parser)
        add_prune(parser)
        parser.add_argument(
            "--no-impact",
            action="store_true",
            help="Do not look whom a change concerns, which takes seconds.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the plan. Raises CommandError, and SystemExit where there are differences."""
        workspace = named_workspace(options)
        try:
            plan = plan_configuration(workspace, read_documents(options), prune=options["prune"])
        except (DomainError, OSError) as error:
            raise CommandError(str(error)) from error
        for change in plan.changes:
            self.stdout.write(change.difference, ending="")
            self.stdout.write(f"{change.action}: {change.path}")
            for sentence in [] if options["no_impact"] else describe_impact(workspace.id, change):
                self.stdout.write(f"  {sentence}")
        print_counts(self.stdout, plan)
        self.stdout.write(f"fingerprint: {plan.fingerprint}")
        if plan.changes:
            sys.exit(DIFFERENT)
