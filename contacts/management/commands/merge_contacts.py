"""The command `merge_contacts`: merge contacts that are one person, pair by pair."""

import csv
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db import transaction

from contacts.crud import find_contact
from contacts.merging.merges import find_merged_contact, merge_contacts
from contacts.merging.reassignment import finish_merge
from workspaces.management.items import ItemCommand
from workspaces.management.selection import add_workspace, named_workspace
from workspaces.models import Workspace


class Command(ItemCommand):
    """`merge_contacts`: pairs are given as arguments or in a file; safe to run again."""

    help = "Merge contacts: each pair is the survivor and the contact that is merged into it, by ids or by identity."

    unit = "pairs"
    failure = "Some pairs were refused."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("pairs", nargs="*", metavar="SURVIVOR MERGED")
        add_workspace(parser)
        parser.add_argument(
            "--csv", help="A file with a pair a line, after a line survivor,merged if you like."
        )
        parser.add_argument("--by", default="merge_contacts", help="Who merges, for the record.")

    def handle(self, *args: Any, **options: Any) -> None:
        """Merge each pair in a transaction of its own. Raises CommandError if any was refused."""
        workspace = named_workspace(options)
        done = "would be merged" if options["dry_run"] else "merged"

        def merge(pair: tuple[str, str]) -> str:
            is_new = _merge(workspace, *pair, by=options["by"], is_dry=options["dry_run"])
            return done if is_new else "were already"

        pairs = _pairs(options["pairs"], options["csv"])
        total = len(options["pairs"]) // 2 if options["csv"] is None else None
        self.each(pairs, merge, outcomes=[done, "were already"], name=" ".join, total=total)


def _merge(workspace: Workspace, survivor: str, merged: str, *, by: str, is_dry: bool) -> bool:
    """Merge a pair; return False if it was merged before."""
    survivor_contact, merged_contact = (
        find_contact(workspace, survivor),
        find_merged_contact(workspace, merged),
    )
    if merged_contact.merged_into_id == survivor_contact.id:
        return False
    with transaction.atomic():
        merge = merge_contacts(workspace.id, survivor_contact, merged_contact, by=by)
        transaction.set_rollback(is_dry)
    if not is_dry:
        # With the worker, which comes for it too.
        finish_merge(merge)
    return True


def _pairs(words: list[str], file: str | None) -> Iterator[tuple[str, str]]:
    if len(words) % 2:
        raise CommandError("Give pairs: the survivor, then the contact that is merged into it.")
    yield from zip(words[::2], words[1::2], strict=True)
    if file is not None:
        with Path(file).open(newline="", encoding="utf-8-sig") as lines:
            yield from _rows(csv.reader(lines))


def _rows(rows: Iterable[list[str]]) -> Iterator[tuple[str, str]]:
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or (number == 1 and cells[:2] == ["survivor", "merged"]):
            continue
        if len(cells) < 2 or not all(cells[:2]):
            raise CommandError(f"Line {number} is no pair.")
        yield cells[0], cells[1]
