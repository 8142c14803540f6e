"""The command `hold_messages`: after restoring a backup, hold messages that may have left already."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from campaigns.messaging.unknown_outcomes import hold_unsent_messages
from workspaces.management.selection import add_workspaces, chosen_workspaces


class Command(BaseCommand):
    """`hold_messages`: what waits becomes UNKNOWN, for somebody to settle."""

    help = "Let every message that has not left be UNKNOWN. Refused unless DELIVERY_PAUSED is on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_workspaces(parser)
        parser.add_argument("--dry-run", action="store_true", help="Count the messages, and hold none.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Hold, and print how many. Raises CommandError where deliveries go on."""
        is_dry = options["dry_run"]
        if not settings.DELIVERY_PAUSED and not is_dry:
            raise CommandError("Messages leave meanwhile: restart everything with DELIVERY_PAUSED=1 first.")
        workspaces = chosen_workspaces(options)
        count = sum(hold_unsent_messages(workspace.id, is_dry=is_dry) for workspace in workspaces)
        self.stdout.write(f"{count:,} messages {'would be UNKNOWN' if is_dry else 'are UNKNOWN now'}")
