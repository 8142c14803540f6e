"""Run all of Headrace on this machine, until Ctrl-C."""

from typing import Any

from django.core.management.base import BaseCommand

from config.runtime import all_in_one


class Command(BaseCommand):
    """`run`: database, web, worker and beat under one supervisor; manage.py bypasses this class."""

    help = "Prepare the database, with a demo workspace on the first start, and run web, worker and beat."

    def run_from_argv(self, argv: list[str]) -> None:
        """Take the options as they are."""
        all_in_one.main(argv[2:])

    def handle(self, *args: Any, **options: Any) -> None:
        """Run with the options of the environment."""
        all_in_one.main(args)
