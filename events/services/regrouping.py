"""Contacts that are merged or parted change their lane; what is kept by lanes and contacts goes along."""

from collections.abc import Collection, Sequence
from uuid import UUID

from events.services.effects import hold_lanes
from events.services.measures import kept_measures, recount_aggregates
from events.services.outbox import lane_of
from events.services.timetable import forget_due

WAIT_SECONDS = 10.0
"""How long a merge waits for the effects, or for background work, on its contacts."""


def hold_lanes_of(workspace_id: UUID, contact_ids: Collection[UUID]) -> None:
    """Keep effects off the contacts until the transaction ends. Raises OperationalError after a while."""
    hold_lanes(
        workspace_id, {lane_of(contact_id) for contact_id in contact_ids}, at_most_seconds=WAIT_SECONDS
    )


def move_contacts(
    workspace_id: UUID, moved: Sequence[UUID], *, old_survivor: UUID, new_survivor: UUID
) -> None:
    """Bring along what the contacts' new lane relies on; both lanes must be held.

    Their decisions leave the timetable: the events of the regrouping have them taken anew. Their aggregates are
    counted where the new lane has them built and the old one had not. Events that wait in the old lane are
    handed over by the runner.
    """
    forget_due(workspace_id, contacts=moved)
    old, new = lane_of(old_survivor), lane_of(new_survivor)
    lacking = [
        kept.spec
        for kept in kept_measures(workspace_id)
        if kept.lanes_built >> new & 1 and not kept.lanes_built >> old & 1
    ]
    if lacking:
        recount_aggregates(workspace_id, moved, lacking)
