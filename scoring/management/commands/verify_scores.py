"""Compare scores with the stream."""

import random
from argparse import ArgumentParser
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError

from contacts.models import Contact
from scoring.rescoring import canonical_contacts
from scoring.verification import Difference, repair_contacts, verify_contacts
from workspaces.management.selection import add_workspaces, chosen_workspaces
from workspaces.models import Workspace

_SHOWN = 20


class Command(BaseCommand):
    """`verify_scores`: exit 1 where a score is not what the stream says, and was not repaired."""

    help = "Recompute scores from the stream, apart from what keeps them, and compare. Nothing waits for it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_workspaces(parser)
        parser.add_argument(
            "--sample", type=int, help="Look at so many contacts of each workspace, at random."
        )
        parser.add_argument("--repair", action="store_true", help="Re-score the contacts that differ.")
        parser.add_argument("--batch-size", type=int, default=500, help="Contacts in a snapshot.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Verify workspace by workspace."""
        if options["batch_size"] < 1 or (options["sample"] is not None and options["sample"] < 1):
            raise CommandError("--sample and --batch-size must be at least 1.")
        remaining = sum(self._verify(workspace, options) for workspace in chosen_workspaces(options))
        if remaining:
            raise CommandError("Scores are not what the stream says.", returncode=1)

    def _verify(self, workspace: Workspace, options: dict[str, Any]) -> int:
        """Return how many contacts differ in the end."""
        looked_at, found, remaining = 0, 0, 0
        total = Contact.objects.in_workspace(workspace.id).canonical().count()
        total = min(total, options["sample"] or total)
        for chunk in _chunks(workspace.id, options["sample"], options["batch_size"]):
            differences = verify_contacts(workspace.id, chunk)
            wrong = self._show(differences, found)
            found += len(wrong)
            if options["repair"] and wrong:
                repair_contacts(workspace.id, wrong)
                wrong = {difference.contact_id for difference in verify_contacts(workspace.id, list(wrong))}
            remaining += len(wrong)
            looked_at += len(chunk)
            self.stderr.write(
                f"{workspace.name}: {looked_at:,} of {total:,} contacts",
                ending="\r" if looked_at < total else "\n",
            )
            self.stderr.flush()
        self.stdout.write(
            f"{workspace.name}: {looked_at:,} contacts, {found:,} differ, {found - remaining:,} repaired"
        )
        return remaining

    def _show(self, differences: list[Difference], shown: int) -> set[UUID]:
        for difference in differences[: max(_SHOWN - shown, 0)]:
            self.stdout.write(str(difference))
        return {difference.contact_id for difference in differences}


def _chunks(workspace_id: UUID, sample: int | None, size: int) -> Iterator[list[UUID]]:
    """Return all contacts in the order of their ids, or those that follow random ids."""
    if sample is None:
        after = UUID(int=0)
        while chunk := canonical_contacts(workspace_id, after, size):
            yield chunk
            after = chunk[-1]
        return
    chosen = _sample(workspace_id, sample)
    for start in range(0, len(chosen), size):
        yield chosen[start : start + size]


def _sample(workspace_id: UUID, size: int) -> list[UUID]:
    ids = Contact.objects.in_workspace(workspace_id).canonical().values_list("id", flat=True)
    chosen: list[UUID] = []
    # Every id has the same chance; one pass over the keys, and no more in memory than are wanted.
    for place, contact_id in enumerate(ids.iterator()):
        if place < size:
            chosen.append(contact_id)
        elif (other := random.randrange(place + 1)) < size:  # noqa: S311  # no secret
            chosen[other] = contact_id
    return chosen
