"""Merge contacts that recorded events say to be one person, after the commit: a merge takes locks of its own."""

import logging
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from uuid import UUID

from config.errors import DomainError
from contacts.merging.same_person import merge_same_person
from contacts.references import MergeScope
from events.stream.types import IncomingEvent, Outcome

logger = logging.getLogger(__name__)


class SamePerson(NamedTuple):
    """Two contacts that an event says to be one person, and how far its sender is believed."""

    survivor: UUID
    other: UUID
    scope: MergeScope


def same_persons(recorded: Iterable[tuple[IncomingEvent, Outcome]]) -> Iterator[SamePerson]:
    """Yield who is one person by events and their outcomes, duplicates among them: they may be apart still."""
    for incoming, outcome in recorded:
        if not outcome.apart or incoming.contact is None or outcome.event is None:
            continue
        if (survivor := outcome.event.survivor_id) is not None:
            for other in outcome.apart:
                yield SamePerson(survivor, other, incoming.contact.merges)


def merge_or_leave(workspace_id: UUID, same: Iterable[SamePerson]) -> None:
    """Merge contacts; those that others hold at this moment are left to the next event that says the same."""
    for survivor, other, scope in dict.fromkeys(same):
        try:
            merge_same_person(workspace_id, survivor, other, scope=scope)
        except DomainError as error:
            logger.warning("Two contacts that are one person are left apart: %s", error.code)
