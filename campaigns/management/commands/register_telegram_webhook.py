"""The command `register_telegram_webhook`: have Telegram send a bot's updates to this installation."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from campaigns.messaging.telegram_inbound import register_webhook
from config.errors import DomainError
from workspaces.management.selection import add_workspace, named_workspace


class Command(BaseCommand):
    """`register_telegram_webhook`: once for each bot, and again when PUBLIC_URL or the token changes."""

    help = "Tell Telegram where it sends what people write to a workspace's bot."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_workspace(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Register one workspace's bot. Raises CommandError if it cannot be."""
        workspace = named_workspace(options)
        try:
            self.stdout.write(register_webhook(workspace.id))
        except DomainError as error:
            raise CommandError(error.message) from error
