"""The base of commands that do the same for each item they are given: progress, counts and exit status."""

from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, TypeVar

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from config.errors import DomainError
from workspaces.management.backfill import INTERRUPTED, interruption
from workspaces.management.progress import ProgressDisplay

_ItemT = TypeVar("_ItemT")


class ItemCommand(BaseCommand):
    """Does something for each item, on its own merits and safe to run again, so nothing is kept of a run.

    Exits with 1 where an item was refused, and with 130 when interrupted, after the item under way.
    """

    unit: ClassVar[str] = "items"
    failure: ClassVar[str] = "Some were refused."
    """What is said where items were refused."""

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare --dry-run."""
        parser.add_argument("--dry-run", action="store_true", help="Tell what would be done, and do nothing.")

    def each(
        self,
        items: Iterable[_ItemT],
        process: Callable[[_ItemT], str],
        *,
        outcomes: Sequence[str],
        name: Callable[[_ItemT], str] = str,
        total: int | None = None,
    ) -> None:
        """Process items and print a line of counts. Raises CommandError.

        `process` returns one of the `outcomes`, or raises the DomainError that refuses an item.
        """
        counts = dict.fromkeys((*outcomes, "refused"), 0)
        label = self.__module__.rpartition(".")[2]
        with interruption() as interrupted, ProgressDisplay(self.stderr, label, self.unit) as display:
            display.begin(0, total)
            for number, item in enumerate(items, 1):
                try:
                    counts[process(item)] += 1
                except (DomainError, OperationalError) as error:
                    counts["refused"] += 1
                    display.line(f"{name(item)}: {error}".strip())
                display.update(number, total)
                if interrupted:
                    break
        self.stdout.write(", ".join(f"{count:,} {outcome}" for outcome, count in counts.items()))
        if interrupted:
            raise CommandError(
                "Interrupted. Give the same command again: it is safe.", returncode=INTERRUPTED
            )
        if counts["refused"]:
            raise CommandError(self.failure, returncode=1)
