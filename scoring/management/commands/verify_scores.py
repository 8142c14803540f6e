"""Compare scores with the stream."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from config.db.backfill import Batch
from contacts.management.contact_batches import ContactBatches, add_sample
from scoring.rule_matching import unreadable_rules
from scoring.verification import verify_and_repair
from workspaces.management.backfill import BackfillCommand, CommandWork
from workspaces.management.selection import add_workspaces, chosen_workspaces


class Command(BackfillCommand):
    """`verify_scores`: exit 1 where a score is wrong and was not repaired, or a rule cannot be read."""

    help = "Recompute scores from the stream, apart from what keeps them, and compare. Nothing waits for it."
    unit = "contacts"
    failed_name = "still differ or cannot be verified"
    failure = "Scores are not what the stream says, or rules cannot be read."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        add_workspaces(parser)
        add_sample(parser)
        parser.add_argument("--repair", action="store_true", help="Re-score the contacts that differ.")

    def works(self, options: Mapping[str, Any]) -> Iterator[CommandWork]:
        """Yield each workspace."""
        repair = options["repair"] and not options["dry_run"]
        for workspace in chosen_workspaces(options):
            batches = ContactBatches(workspace.id, options)
            verify = partial(_verify, workspace.id, batches, repair)
            yield CommandWork(workspace.id, workspace.name, verify, total=batches.count, is_atomic=False)


def _verify(workspace_id: UUID, batches: ContactBatches, repair: bool, cursor: Any, limit: int) -> Batch:
    contact_ids, following = batches.after(cursor, limit)
    found = verify_and_repair(workspace_id, contact_ids, repair=repair)
    unreadable = unreadable_rules(workspace_id) if cursor is None else []
    return Batch(
        following,
        done=len(contact_ids),
        failed=len(found.remaining) + len(unreadable),
        lines=(*unreadable, *map(str, found.differences)),
        counts={"differ": len(found.contacts), "repaired": len(found.contacts) - len(found.remaining)},
    )
