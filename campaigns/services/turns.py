"""What a step is given, and what can become of a run in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from campaigns.definition import NEXT, Definition, Node
from campaigns.models import Campaign, RunState
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.services.people import Person, people_of
from campaigns.services.permission import settings_of
from config.lookups import one_of
from events.models import Event


@dataclass(frozen=True, slots=True)
class GoOn:
    """The step is done; the run leaves it by a handle. `since`: when what it waited for was so."""

    handle: str = NEXT
    detail: Mapping[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    event_id: UUID | None = None
    message_id: UUID | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Stay:
    """The run waits in the step, for an event if `awaits` has its name, and is looked at again at `until`."""

    until: datetime
    awaits: str = ""
    awaited_value: str = ""


@dataclass(frozen=True, slots=True)
class End:
    """The run ends here."""

    status: str
    reason: Reason
    detail: Mapping[str, Any] = field(default_factory=dict)
    event_id: UUID | None = None
    # What the workflow itself calls it, where it says so.
    said: str = ""


@dataclass(frozen=True, slots=True)
class Later:
    """The run is left as it is, and looked at again at `until`."""

    until: datetime


@dataclass
class Chunk:
    """The runs that one transaction takes on, and what is known of all of them; read when a step asks for it."""

    workspace_id: UUID
    now: datetime
    runs: Sequence[RunState]
    _people: Mapping[UUID, Person] | None = None

    @cached_property
    def campaigns(self) -> Mapping[UUID, Campaign]:
        """The runs' campaigns, by id."""
        campaigns = Campaign.objects.in_workspace(self.workspace_id)
        wanted = campaigns.filter(one_of("id", {run.campaign_id for run in self.runs}))
        return {campaign.id: campaign for campaign in wanted}

    @cached_property
    def people(self) -> Mapping[UUID, Person]:
        """Those whose runs they are, by the contact that a run came with."""
        if self._people is not None:
            return self._people
        return people_of(self.workspace_id, {run.contact_id for run in self.runs})

    def event_of(self, run: RunState) -> Event | None:
        """Return the event that started a run, if one did and it is still there."""
        return None if run.event_id is None else self._events.get(run.event_id)

    @cached_property
    def _events(self) -> dict[UUID, Event]:
        ids = [one.event_id for one in self.runs if one.event_id is not None]
        events = Event.objects.filter(one_of("id", ids), workspace_id=self.workspace_id)
        bounded = events.filter(id__gte=min(ids), id__lte=max(ids)) if ids else events.none()
        return {event.id: event for event in bounded}

    @cached_property
    def default_zone(self) -> str:
        """The time zone of contacts that have none of their own."""
        return settings_of(self.workspace_id, Channel.EMAIL).time_zone


@dataclass(frozen=True)
class Turn:
    """Runs of one version that are at one of its nodes."""

    chunk: Chunk
    definition: Definition
    node: Node

    @property
    def now(self) -> datetime:
        """The moment that it is for the whole chunk."""
        return self.chunk.now

    @cached_property
    def workspace_id(self) -> UUID:
        """The workspace."""
        return self.chunk.workspace_id

    def person(self, run: RunState) -> Person:
        """Return whose run it is: the contact that stands, with all that is known of it."""
        return self.chunk.people[run.contact_id]


@dataclass(frozen=True, slots=True)
class Asks:
    """The run asks for what its step sends; those of all versions are reserved together."""

    turn: Turn


Outcome = GoOn | Stay | End | Later | Asks
