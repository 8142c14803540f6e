"""The contacts that a command looks at, batch by batch: all of a workspace, or some at random."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from config.ids import NO_ID
from contacts.models import Contact


def add_sample(parser: ArgumentParser) -> None:
    """Declare --sample."""
    parser.add_argument(
        "--sample", type=_sample, help="Look at so many contacts of each workspace, at random."
    )


def _sample(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError("must be at least 1")
    return int(text)


class ContactBatches:
    """Contacts without those merged into others. A cursor is the last id, or how many of a sample are done."""

    def __init__(self, workspace_id: UUID, options: Mapping[str, Any]) -> None:
        self._sample: int | None = options["sample"]
        if self._sample is not None and self._sample < 1:
            raise CommandError("--sample must be at least 1.")
        self._contacts = Contact.objects.in_workspace(workspace_id).canonical()
        self._chosen: list[UUID] | None = None

    @property
    def is_sample(self) -> bool:
        """Whether only some are looked at."""
        return self._sample is not None

    def count(self) -> int:
        """Return how many there are."""
        return min(self._contacts.count(), self._sample or self._contacts.count())

    def after(self, cursor: Any, limit: int) -> tuple[Sequence[UUID], Any]:
        """Return the contacts after a cursor, and the next cursor: None, if these are the last."""
        if self._sample is not None:
            # Another run has others, as many as are left.
            if self._chosen is None:
                ids = self._contacts.order_by("?").values_list("id", flat=True)
                self._chosen = sorted(ids[: self._sample])
            done = (cursor or 0) + limit
            return self._chosen[cursor or 0 : done], done if done < len(self._chosen) else None
        rows = self._contacts.filter(id__gt=UUID(cursor) if cursor else NO_ID).order_by("id")
        found = list(rows.values_list("id", flat=True)[:limit])
        return found, str(found[-1]) if len(found) == limit else None
