"""Re-score contacts from the stream."""

from argparse import ArgumentParser
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from config.ids import parse_uuid
from config.values.datetimes import has_timezone, parse_timestamp
from contacts.models import Contact
from events.id_bounds import first_id_of_events
from events.models import Event
from events.processing.effects import lock_lane
from events.stream.outbox import lane_of
from scoring.management.selection import add_workspaces, chosen_workspaces
from scoring.rescoring import canonical_contacts, rescore_contacts
from workspaces.models import Workspace

_FIRST = UUID(int=0)


class Command(BaseCommand):
    """`rescore_contacts`: safe to stop anywhere and to run twice; a transaction per batch and lane."""

    help = (
        "Evaluate the events of contacts again by the rules that hold for them, and recalculate their scores."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        add_workspaces(parser)
        parser.add_argument("--batch-size", type=int, default=500, help="Contacts at a time.")
        parser.add_argument(
            "--since", help="Only contacts with an event that happened since (ISO 8601, with a time zone)."
        )
        parser.add_argument(
            "--after", help="Go on after this contact, the last one that an earlier run told of."
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="Count what would change, and change nothing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Re-score workspace by workspace."""
        since = _moment(options["since"]) if options["since"] else None
        after = parse_uuid(options["after"]) if options["after"] else _FIRST
        if after is None or options["batch_size"] < 1:
            raise CommandError("--after must be the id of a contact, --batch-size at least 1.")
        for workspace in chosen_workspaces(options):
            self._rescore(workspace, since, after, options["batch_size"], options["dry_run"])

    def _rescore(
        self, workspace: Workspace, since: datetime | None, after: UUID, size: int, is_dry: bool
    ) -> None:
        contacts, changed = 0, 0
        for chunk in _chunks(workspace.id, since, after, size):
            contacts += len(chunk)
            changed += sum(_rescore_lane(workspace.id, lane, ids, is_dry) for lane, ids in _by_lane(chunk))
            last = f", the last one {chunk[-1]}" if since is None else ""
            self.stderr.write(f"{workspace.name}: {contacts:,} contacts{last}")
        verb = "would change" if is_dry else "changed"
        self.stdout.write(f"{workspace.name}: {contacts:,} contacts, {changed:,} scores {verb}")


def _moment(text: str) -> datetime:
    moment = parse_timestamp(text)
    if moment is None or not has_timezone(text):
        raise CommandError("--since must be a moment such as 2026-11-02T12:00:00Z.")
    return moment


def _chunks(workspace_id: UUID, since: datetime | None, after: UUID, size: int) -> Iterator[list[UUID]]:
    while chunk := canonical_contacts(workspace_id, after, size):
        after = chunk[-1]
        yield chunk if since is None else _with_events_since(workspace_id, chunk, since)


def _with_events_since(workspace_id: UUID, contact_ids: list[UUID], since: datetime) -> list[UUID]:
    merged = Contact.objects.in_workspace(workspace_id).filter(merged_into__in=contact_ids)
    owners: dict[UUID, UUID] = {contact_id: contact_id for contact_id in contact_ids}
    owners |= {merged_id: into for merged_id, into in merged.values_list("id", "merged_into_id") if into}
    events = Event.objects.in_workspace(workspace_id).filter(
        contact_id__in=owners, id__gte=first_id_of_events(since), occurred_at__gte=since
    )
    found = events.values_list("contact_id", flat=True).distinct()
    return sorted({owners[contact_id] for contact_id in found if contact_id})


def _by_lane(contact_ids: list[UUID]) -> list[tuple[int, list[UUID]]]:
    lanes: dict[int, list[UUID]] = defaultdict(list)
    for contact_id in contact_ids:
        lanes[lane_of(contact_id)].append(contact_id)
    return sorted(lanes.items())


def _rescore_lane(workspace_id: UUID, lane: int, contact_ids: list[UUID], is_dry: bool) -> int:
    with lock_lane(workspace_id, lane):
        changed = rescore_contacts(workspace_id, contact_ids)
        transaction.set_rollback(is_dry)
    return len(changed)
