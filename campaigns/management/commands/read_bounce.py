"""The command `read_bounce`: record a bounce or complaint that came back as e-mail, read from standard input."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from campaigns.messaging.bounces import MAX_BYTES, parse_bounce
from campaigns.messaging.provider_reports import record_report


class Command(BaseCommand):
    """`read_bounce < e-mail`: what the mail server pipes the address of BOUNCE_ADDRESS into."""

    help = "Read an e-mail from the standard input, and act on what it reports of a message of ours."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print what was done. Whatever it is, it succeeds: a failure would be sent back in its turn."""
        report = parse_bounce(sys.stdin.buffer.read(MAX_BYTES))
        self.stdout.write(record_report(report) if report else "nothing")
