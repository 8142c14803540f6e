"""The command `apply_import_effects`: have an import followed by what it was recorded without."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from django.core.management.base import CommandError

from config.ids import NO_ID, parse_uuid
from contacts.models import Contact, Import
from events.imports.effects import enqueue_effects
from workspaces.management.backfill import BackfillCommand, CommandWork


class Command(BackfillCommand):
    """`apply_import_effects`: a transaction per batch of contacts; the workers apply what it enqueues."""

    help = "Have scores and segments follow from an import with --effects none; no campaign starts."
    unit = "contacts"
    # All that they did is in one transaction.
    batch_size = 200

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("imports", nargs="+", metavar="IMPORT", help="The id of an import.")

    def works(self, options: Mapping[str, Any]) -> Iterator[CommandWork]:
        """Yield each import. Raises CommandError."""
        for run in [_import(text) for text in options["imports"]]:
            yield CommandWork(
                run.workspace_id,
                run.name,
                partial(enqueue_effects, run),
                total=Contact.objects.in_workspace(run.workspace_id).count,
            )


def _import(text: str) -> Import:
    run = Import.objects.filter(id=parse_uuid(text) or NO_ID).first()
    if run is None:
        raise CommandError(f"There is no import {text}.")
    if run.dry_run:
        raise CommandError(f"The import {text} was a dry run and has recorded nothing.")
    if run.effects != Import.Effects.NONE:
        raise CommandError(f"The import {text} has had its effects.")
    return run
