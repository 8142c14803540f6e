"""What goes into `record_events` and what comes back."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Any, Literal
from uuid import UUID

import msgspec

from config.errors import DomainError
from contacts.models import Company
from contacts.references import CompanyReference, ContactReference, MergeScope


class SchemaPolicy(Enum):
    """How event names and properties are checked against the definitions."""

    DECLARED = "declared"
    """Undeclared names and properties are refused, values are coerced to the declared type."""
    LEARNED = "learned"
    """Names, properties and types are learned from the first event, and lock."""
    OPEN = "open"
    """Everything is stored as sent; names and types are merely observed."""


class IncomingEvent(msgspec.Struct, frozen=True):
    """An event as it came in."""

    name: str
    contact: ContactReference | None = None
    properties: Mapping[str, Any] = msgspec.field(default_factory=dict)
    # What came beside the properties: sessionId, pageUrl, referrer, utmSource, …
    context: Mapping[str, Any] = msgspec.field(default_factory=dict)
    # None: when it is received.
    occurred_at: datetime | None = None
    # The sender's own key, which removes duplicates for ever.
    message_id: str = ""
    company: CompanyReference | None = None
    # The sender did not send this `occurred_at`: a repeat comes with another, so the key alone names the event.
    is_time_estimated: bool = False

    def filling_in(self) -> "IncomingEvent":
        """Return an event that sets of a contact only what that lacks, and puts nobody into a company.

        Nobody has checked who sends it.
        """
        contact = self.contact
        if contact is not None and contact.update_matched:
            contact = msgspec.structs.replace(contact, fills_in=True)
        elif self.company is None:
            return self
        return msgspec.structs.replace(self, contact=contact, company=None)

    def merging_visitors(self) -> "IncomingEvent":
        """Return an event that makes nobody another contact's part but who is known by anonymous ids alone."""
        if self.contact is None or not self.contact.same_as:
            return self
        contact = msgspec.structs.replace(self.contact, merges=MergeScope.ANONYMOUS)
        return msgspec.structs.replace(self, contact=contact)


class RecordedEvent(msgspec.Struct):
    """An event as the stream holds it; `record_events` begins it with what came in and completes it."""

    id: UUID
    workspace_id: UUID
    name: str
    properties: Mapping[str, Any]
    context: Mapping[str, Any]
    occurred_at: datetime
    received_at: datetime
    source: str
    # Whom it came with, even if that contact was merged into another: so the undo of a merge is exact.
    contact_id: UUID | None = None
    company_id: UUID | None = None
    message_id: str = ""
    cause_id: UUID | None = None
    depth: int = 0
    # Its sender's clock was ahead: the id has the time as it was sent, not that at which it happened.
    is_ahead: bool = False
    # The survivor, where there is one.
    merged_into: UUID | None = None

    @property
    def survivor_id(self) -> UUID | None:
        """The contact that the event is about now, after merges: answers name it, and its lane applies."""
        return self.merged_into or self.contact_id


class Outcome(msgspec.Struct, frozen=True):
    """What became of one incoming event; a duplicate's `event` is what was sent now, under the first one's id."""

    status: Literal["recorded", "duplicate", "refused"]
    event: RecordedEvent | None = None
    contact_created: bool = False
    company: Company | None = None
    company_created: bool = False
    error: DomainError | None = None
    # Contacts who are the same person by what the sender says: see `ContactReference.same_as`.
    apart: tuple[UUID, ...] = ()

    def recorded(self) -> RecordedEvent:
        """Return the event. Raises the DomainError that refused it."""
        if self.event is None:
            raise self.error or AssertionError("what is not recorded has its reason")
        return self.event
