"""The command `settle_messages`: resolve all messages with an unknown outcome, as sent or to send again."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from campaigns.messaging.unknown_outcomes import resolve_unknown
from campaigns.models.messages import Channel
from workspaces.management.selection import add_workspaces, chosen_workspaces


class Command(BaseCommand):
    """`settle_messages`: each single one may be settled in the admin or by the API before."""

    help = "Settle every UNKNOWN message: it was sent, or it was not and is to be sent again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_workspaces(parser)
        parser.add_argument("--channel", choices=Channel.values, help="Of one channel only.")
        parser.add_argument("--dry-run", action="store_true", help="Count the messages, and settle none.")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--sent", action="store_true", help="They left: none is sent again.")
        what.add_argument("--again", action="store_true", help="They did not leave: they are sent now.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Settle, and print how many."""
        count = sum(
            resolve_unknown(
                workspace.id,
                was_sent=options["sent"],
                channel=options["channel"],
                is_dry=options["dry_run"],
            )
            for workspace in chosen_workspaces(options)
        )
        were = "would be" if options["dry_run"] else "were"
        self.stdout.write(f"{count:,} messages {were} {'sent' if options['sent'] else 'queued again'}")
