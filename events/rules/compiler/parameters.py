"""Parameters of compiled rules whose values are known when a statement is executed."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from config.db.sql import Deferred
from events.id_bounds import end_id_of_events, first_id_of_events
from events.rules.nodes import Group, written


def bound_values(workspace_id: UUID, earliest: datetime, latest: datetime) -> dict[str, Any]:
    """Return what compiled rules are bound to; no `as_of` of `b` is before `earliest`, no `until` after `latest`."""
    return {"workspace_id": workspace_id, "earliest": earliest, "end_id": end_id_of_events(latest)}


@dataclass(frozen=True, slots=True)
class Earliest(Deferred):
    """The first event id that a window of this length, or from this start on, can hold; the lowest without either."""

    length: timedelta | None = None
    start: datetime | None = None

    def resolve(self, bound: Mapping[str, Any]) -> UUID:
        """Return the id."""
        start = self.start or (bound["earliest"] - self.length if self.length else None)
        return first_id_of_events(start) if start else UUID(int=0)


@dataclass(frozen=True, slots=True)
class AggregateSpec(Deferred):
    """An aggregate that an all-time condition reads: event name, aggregation, property, filters.

    `key`, a hash of what is measured, tells two measures apart; Python would take `true` for 1. As a parameter it is
    the aggregate's id in the workspace.
    """

    event_name: str = dataclasses.field(compare=False)
    filters: Group | None = dataclasses.field(compare=False)
    field: str = dataclasses.field(compare=False)
    key: str = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        filters = None if self.filters is None else _canonical_value(written(self.filters))
        spelled = repr((self.event_name, filters, self.field))
        object.__setattr__(self, "key", hashlib.sha256(spelled.encode()).hexdigest())

    def id_in(self, workspace_id: UUID) -> UUID:
        """Return the aggregate's id in a workspace."""
        return UUID(bytes=hashlib.sha256(workspace_id.bytes + self.key.encode()).digest()[:16])

    def resolve(self, bound: Mapping[str, Any]) -> UUID:
        """Return the id in the workspace that is bound."""
        return self.id_in(bound["workspace_id"])


def _canonical_value(value: Any) -> Any:
    """Return JSON with one spelling of each number: 100000.0 comes back from the database as 100000."""
    if isinstance(value, dict):
        return sorted((key, _canonical_value(item)) for key, item in value.items())
    if isinstance(value, list):
        return [_canonical_value(item) for item in value]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return str(Decimal(str(value)).normalize()) if is_number else repr(value)
