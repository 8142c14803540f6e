"""The command `apply_configuration`: make a workspace what a folder says."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from campaigns.configuration.plans import apply_configuration
from campaigns.management.configuration import (
    add_folder,
    add_prune,
    print_counts,
    read_documents,
)
from config.errors import DomainError
from workspaces.authentication.sign_in import user_named
from workspaces.management.selection import named_workspace
from workspaces.models import User


class Command(BaseCommand):
    """`apply_configuration FOLDER --workspace ID --user NAME`: all of it, or nothing and exit status 1."""

    help = "Create and change what a folder says, in one transaction; the audit log says who did it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_folder(parser)
        add_prune(parser)
        parser.add_argument("--user", required=True, help="Who applies it: a user name or an e-mail address.")
        parser.add_argument(
            "--expect", metavar="FINGERPRINT", help="Refuse unless this is what the plan would be now."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Apply, and print what was changed. Raises CommandError."""
        try:
            plan = apply_configuration(
                named_workspace(options),
                read_documents(options),
                user=_user(options["user"]),
                source=options["folder"].resolve().name,
                prune=options["prune"],
                expected=options["expect"],
            )
        except (DomainError, OSError) as error:
            raise CommandError(str(error)) from error
        for change in plan.changes:
            self.stdout.write(f"{change.action}: {change.path}")
        print_counts(self.stdout, plan)


def _user(name: str) -> User:
    user = user_named(name)
    if user is None or not user.is_active:
        raise CommandError(f"There is no active user {name}.")
    return user
