"""Move what is kept by lane when contacts are merged or unmerged: outbox batches, timers, aggregates."""

from collections.abc import Collection, Sequence
from uuid import UUID

from events.aggregates.registry import maintained_aggregates, recompute_aggregates
from events.processing.passes import lock_lanes
from events.processing.timers import cancel_timers
from events.stream.outbox import lane_of

WAIT_SECONDS = 10.0
"""How long a merge waits for the effects, or for background work, on its contacts."""


def lock_lanes_of_contacts(workspace_id: UUID, contact_ids: Collection[UUID]) -> None:
    """Lock the contacts' lanes against effects until the transaction ends. Raises OperationalError after a while."""
    lock_lanes(
        workspace_id, {lane_of(contact_id) for contact_id in contact_ids}, at_most_seconds=WAIT_SECONDS
    )


def move_contacts(
    workspace_id: UUID, moved: Sequence[UUID], *, old_survivor: UUID, new_survivor: UUID
) -> None:
    """Move timers and aggregates to the new lanes; both lanes must be locked.

    Their timers are cancelled: the events of the merge have them set anew. Their aggregates are
    counted where the new lane has them built and the old one had not. Events that wait in the old lane are
    handed over by the runner.
    """
    cancel_timers(workspace_id, contacts=moved)
    old, new = lane_of(old_survivor), lane_of(new_survivor)
    lacking = [
        kept.spec
        for kept in maintained_aggregates(workspace_id)
        if kept.lanes_built >> new & 1 and not kept.lanes_built >> old & 1
    ]
    if lacking:
        recompute_aggregates(workspace_id, moved, lacking)
