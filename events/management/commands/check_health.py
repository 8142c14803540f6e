"""The command `check_health`: check database, migrations, broker, and the heartbeats of beat and workers."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from config.http import readiness
from config.observability.logs import redacted_message
from events.processing.heartbeat import heartbeat_age


class Command(BaseCommand):
    """`check_health`: prints `ok`, or what is wrong and exits with 1."""

    help = "Tell whether the database, the broker, workers and beat work; exit with 1 where one does not."
    requires_system_checks: list[str] = []  # they run in `check`

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the greatest age of the heartbeat."""
        parser.add_argument("--heartbeat-seconds", type=float, default=120.0, help="its greatest age (120)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Check everything once. Raises CommandError with what is wrong."""
        wrong = [f"{part}: {state}" for part, state in readiness.state().items() if state != readiness.OK]
        if not wrong:
            wrong = _heartbeat(options["heartbeat_seconds"])
        if wrong:
            raise CommandError("; ".join(wrong))
        self.stdout.write("ok")


def _heartbeat(most_seconds: float) -> list[str]:
    try:
        age = heartbeat_age()
    except Error as error:
        return [f"heartbeat: {' '.join(redacted_message(error).split())}"]
    if age is None:
        return ["heartbeat: none yet; beat or a worker does not run"]
    return [f"heartbeat: {age:.0f} s old; beat or a worker does not run"] if age > most_seconds else []
