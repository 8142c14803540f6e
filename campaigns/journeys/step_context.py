"""Input of step handlers (StepContext) and their results (StepOutcome)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from campaigns.journeys.definition.parser import Definition
from campaigns.journeys.definition.steps import NEXT
from campaigns.journeys.definition.workflow import Node
from campaigns.messaging.policy import settings_of
from campaigns.messaging.recipients import Recipient, load_recipients
from campaigns.models import Campaign, EnrollmentState
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from config.db.constant_rows import constant_in_rehearsals
from config.db.lookups import any_of
from events.models import Event


@dataclass(frozen=True, slots=True)
class Advance:
    """Leave the step by a handle. `since`: when the wait that ends here was over."""

    handle: str = NEXT
    detail: Mapping[str, Any] = field(default_factory=dict)
    since: datetime | None = None
    event_id: UUID | None = None
    message_id: UUID | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Stay in the step until `until`, or until an event named `awaited_event` if there is one."""

    until: datetime
    awaited_event: str = ""
    awaited_value: str = ""


@dataclass(frozen=True, slots=True)
class Finish:
    """End the enrollment."""

    status: str
    reason: Reason
    detail: Mapping[str, Any] = field(default_factory=dict)
    event_id: UUID | None = None
    # The exit step's own reason, if it has one.
    exit_reason: str = ""


@dataclass(frozen=True, slots=True)
class Postpone:
    """Leave the enrollment as it is, and check it again at `until`."""

    until: datetime


@dataclass
class EnrollmentBatch:
    """Enrollments of one transaction, with their campaigns, contacts and events, loaded on first use."""

    workspace_id: UUID
    now: datetime
    enrollments: Sequence[EnrollmentState]
    _people: Mapping[UUID, Recipient] | None = None

    @cached_property
    def campaigns(self) -> Mapping[UUID, Campaign]:
        """Return the enrollments' campaigns, by id."""
        wanted = frozenset(enrollment.campaign_id for enrollment in self.enrollments)
        return _campaigns(self.workspace_id, wanted)

    @cached_property
    def people(self) -> Mapping[UUID, Recipient]:
        """Return the enrollments' recipients, by `contact_id` of the enrollment."""
        if self._people is not None:
            return self._people
        return load_recipients(self.workspace_id, {enrollment.contact_id for enrollment in self.enrollments})

    def event_of(self, enrollment: EnrollmentState) -> Event | None:
        """Return the event that triggered an enrollment, if there is one still."""
        return None if enrollment.event_id is None else self._events.get(enrollment.event_id)

    @cached_property
    def _events(self) -> dict[UUID, Event]:
        ids = (enrollment.event_id for enrollment in self.enrollments)
        return _events(self.workspace_id, frozenset(id_ for id_ in ids if id_ is not None))

    @cached_property
    def default_zone(self) -> str:
        """Return the time zone of contacts that have none of their own."""
        return settings_of(self.workspace_id, Channel.EMAIL).time_zone


@constant_in_rehearsals
def _campaigns(workspace_id: UUID, campaign_ids: frozenset[UUID]) -> dict[UUID, Campaign]:
    campaigns = Campaign.objects.in_workspace(workspace_id).filter(any_of("id", campaign_ids))
    return {campaign.id: campaign for campaign in campaigns}


@constant_in_rehearsals
def _events(workspace_id: UUID, event_ids: frozenset[UUID]) -> dict[UUID, Event]:
    return {event.id: event for event in Event.objects.by_ids(workspace_id, event_ids)}


@dataclass(frozen=True)
class StepContext:
    """The batch, the definition and the node that a step handler works on."""

    batch: EnrollmentBatch
    definition: Definition
    node: Node

    @property
    def now(self) -> datetime:
        """Return the time of the whole batch."""
        return self.batch.now

    @cached_property
    def workspace_id(self) -> UUID:
        """Return the batch's workspace."""
        return self.batch.workspace_id

    def person(self, enrollment: EnrollmentState) -> Recipient:
        """Return an enrollment's recipient: the canonical contact with its state."""
        return self.batch.people[enrollment.contact_id]


@dataclass(frozen=True, slots=True)
class RequestMessage:
    """Enqueue the message of the step; requests of all versions are enqueued together."""

    context: StepContext


StepOutcome = Advance | Wait | Finish | Postpone | RequestMessage
