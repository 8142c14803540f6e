"""What a step is given, and what can become of an enrollment in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from campaigns.journeys.definition import NEXT, Definition, Node
from campaigns.messaging.policy import settings_of
from campaigns.messaging.recipients import Recipient, load_recipients
from campaigns.models import Campaign, EnrollmentState
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from config.db.lookups import any_of
from events.models import Event


@dataclass(frozen=True, slots=True)
class Advance:
    """The step is done; the enrollment leaves it by a handle. `since`: when what it waited for was so."""

    handle: str = NEXT
    detail: Mapping[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    event_id: UUID | None = None
    message_id: UUID | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """The enrollment waits in the step, for an event if `awaits` has its name, and is looked at again at `until`."""

    until: datetime
    awaited_event: str = ""
    awaited_value: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """The enrollment ends here."""

    status: str
    reason: Reason
    detail: Mapping[str, Any] = field(default_factory=dict)
    event_id: UUID | None = None
    # What the workflow itself calls it, where it says so.
    exit_reason: str = ""


@dataclass(frozen=True, slots=True)
class Postpone:
    """The enrollment is left as it is, and looked at again at `until`."""

    until: datetime


@dataclass
class EnrollmentBatch:
    """The enrollments that one transaction takes on, and what is known of all of them; read when a step asks for it."""

    workspace_id: UUID
    now: datetime
    enrollments: Sequence[EnrollmentState]
    _people: Mapping[UUID, Recipient] | None = None

    @cached_property
    def campaigns(self) -> Mapping[UUID, Campaign]:
        """The runs' campaigns, by id."""
        campaigns = Campaign.objects.in_workspace(self.workspace_id)
        wanted = campaigns.filter(any_of("id", {enrollment.campaign_id for enrollment in self.enrollments}))
        return {campaign.id: campaign for campaign in wanted}

    @cached_property
    def people(self) -> Mapping[UUID, Recipient]:
        """Those whose enrollments they are, by the contact that an enrollment came with."""
        if self._people is not None:
            return self._people
        return load_recipients(self.workspace_id, {enrollment.contact_id for enrollment in self.enrollments})

    def event_of(self, enrollment: EnrollmentState) -> Event | None:
        """Return the event that started an enrollment, if one did and it is still there."""
        return None if enrollment.event_id is None else self._events.get(enrollment.event_id)

    @cached_property
    def _events(self) -> dict[UUID, Event]:
        ids = [enrollment.event_id for enrollment in self.enrollments if enrollment.event_id is not None]
        events = Event.objects.filter(any_of("id", ids), workspace_id=self.workspace_id)
        bounded = events.filter(id__gte=min(ids), id__lte=max(ids)) if ids else events.none()
        return {event.id: event for event in bounded}

    @cached_property
    def default_zone(self) -> str:
        """The time zone of contacts that have none of their own."""
        return settings_of(self.workspace_id, Channel.EMAIL).time_zone


@dataclass(frozen=True)
class StepContext:
    """Enrollments of one version that are at one of its nodes."""

    batch: EnrollmentBatch
    definition: Definition
    node: Node

    @property
    def now(self) -> datetime:
        """The moment that it is for the whole chunk."""
        return self.batch.now

    @cached_property
    def workspace_id(self) -> UUID:
        """The workspace."""
        return self.batch.workspace_id

    def person(self, enrollment: EnrollmentState) -> Recipient:
        """Return whose enrollment it is: the contact that stands, with all that is known of it."""
        return self.batch.people[enrollment.contact_id]


@dataclass(frozen=True, slots=True)
class RequestMessage:
    """The enrollment asks for what its step sends; those of all versions are reserved together."""

    context: StepContext


StepOutcome = Advance | Wait | Finish | Postpone | RequestMessage
