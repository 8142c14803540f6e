"""What effects make of a workspace's rules: made once for as long as the rules are the same, and kept."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

MOST_KEPT: Final = 64
"""Workspaces of which a process keeps what it made, the last ones used."""

Plan = TypeVar("Plan")


class KeptPlans(Generic[Plan]):
    """A plan for each workspace, and what the rules were when it was made."""

    def __init__(self) -> None:
        self._plans: OrderedDict[UUID, tuple[tuple[Any, ...], Plan]] = OrderedDict()

    def get(self, workspace_id: UUID, fingerprint: tuple[Any, ...], make: Callable[[], Plan]) -> Plan:
        """Return the plan for the rules of this fingerprint, made where none is kept."""
        kept = self._plans.get(workspace_id)
        if kept is None or kept[0] != fingerprint:
            kept = self._plans[workspace_id] = (fingerprint, make())
        self._plans.move_to_end(workspace_id)
        if len(self._plans) > MOST_KEPT:
            self._plans.popitem(last=False)
        return kept[1]
