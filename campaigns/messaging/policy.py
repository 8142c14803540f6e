"""Send policy: consent, suppressions, quiet hours and frequency caps.

Decided when a message is enqueued, and again when it leaves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Final
from uuid import UUID

from campaigns.messaging.recipients import Recipient
from campaigns.models import ChannelSettings, Message, PendingConsent, Suppression
from campaigns.reasons import Reason
from config.db.arrays import array
from config.db.constant_rows import constant_in_rehearsals
from config.db.statements import fetch_all
from contacts.models import Consent

_LEFT: Final = (
    Message.Status.SENT,
    Message.Status.DELIVERED,
    Message.Status.OPENED,
    Message.Status.CLICKED,
    Message.Status.BOUNCED,
    Message.Status.UNSUBSCRIBED,
)
_LEAVING: Final = (Message.Status.SENDING, Message.Status.UNKNOWN)


def _listed(statuses: Collection[str]) -> str:
    return ", ".join(f"'{status}'" for status in statuses)


@dataclass(frozen=True, slots=True)
class SendDecision:
    """Whether a message may leave: now (no reason), later (a reason and `until`), or never (a reason alone)."""

    reason: Reason | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class SendRequest:
    """What the policy has to know of a message."""

    recipient: Recipient
    address: str
    is_transactional: bool = False
    is_test: bool = False

    @property
    def is_limited(self) -> bool:
        """Whether consent, quiet hours and caps apply; to transactional messages and tests they do not."""
        return not (self.is_transactional or self.is_test)


@dataclass(slots=True)
class SendPolicy:
    """What decides on messages of one channel: settings, suppressions, recent sends, pending opt-ins."""

    settings: ChannelSettings
    now: datetime
    suppressed: set[str]
    # By recipient: when messages left that count for the cap, latest first.
    sent_times: dict[UUID, list[datetime]] = field(default_factory=dict)
    # Recipients with an open double opt-in.
    unconfirmed: set[UUID] = field(default_factory=set)

    def decide(self, request: SendRequest) -> SendDecision:
        """Decide whether a message may leave; a reason for never comes before one for later."""
        if not request.address:
            return SendDecision(Reason.NO_ADDRESS)
        if request.address in self.suppressed:
            return SendDecision(Reason.SUPPRESSED)
        if not request.is_limited:
            return SendDecision()
        if refusal := self._consent_refusal(request.recipient):
            return SendDecision(refusal)
        if (until := self._cap_allows_at(request.recipient)) > self.now:
            later = self._quiet_until(request.recipient, until)
            return SendDecision(Reason.CAPPED, later)
        if (until := self._quiet_until(request.recipient, self.now)) > self.now:
            return SendDecision(Reason.QUIET_HOURS, until)
        return SendDecision()

    def count_sent(self, request: SendRequest) -> None:
        """Count a message that leaves now against the cap of its recipient."""
        if request.is_limited:
            self.sent_times.setdefault(request.recipient.id, []).insert(0, self.now)

    def _consent_refusal(self, recipient: Recipient) -> Reason | None:
        consent = recipient.state.consents.get(self.settings.channel)
        if consent == Consent.Status.OPTED_OUT:
            return Reason.OPTED_OUT
        if consent is None and (self.settings.requires_opt_in or recipient.id in self.unconfirmed):
            return Reason.NO_CONSENT
        return None

    def _cap_allows_at(self, recipient: Recipient) -> datetime:
        """Return when the frequency cap allows another message."""
        count = self.settings.cap_count
        if count is None:
            return self.now
        window = timedelta(hours=self.settings.cap_hours)
        left = self.sent_times.get(recipient.id, ())
        return left[count - 1] + window if len(left) >= count else self.now

    def _quiet_until(self, recipient: Recipient, at: datetime) -> datetime:
        """Return `at`, or the end of the quiet hours that it is in."""
        start, end = self.settings.quiet_from, self.settings.quiet_until
        if start is None or end is None or start == end:
            return at
        zone = recipient.time_zone(self.settings.time_zone)
        local = at.astimezone(zone)
        if not _is_within(local.time(), start, end):
            return at
        day = local.date() + timedelta(days=1 if local.time() >= end else 0)
        return datetime.combine(day, end, zone).astimezone(at.tzinfo)


@constant_in_rehearsals
def settings_of(workspace_id: UUID, channel: str) -> ChannelSettings:
    """Return a workspace's settings of a channel; the defaults where it has none."""
    # Asked for each few messages: the ORM takes longer to put it together than the database to answer it.
    rows = ChannelSettings.objects.raw(_SETTINGS, [workspace_id, channel])
    return next(iter(rows), None) or ChannelSettings(workspace_id=workspace_id, channel=channel)


_SETTINGS: Final = f"SELECT * FROM {ChannelSettings._meta.db_table} WHERE workspace_id = %s AND channel = %s"


def load_send_policy(
    settings: ChannelSettings, recipients: Collection[Recipient], addresses: Collection[str], *, now: datetime
) -> SendPolicy:
    """Load the policy for messages to these recipients and addresses; two statements at most."""
    rows = fetch_all(
        _SUPPRESSED_OR_PENDING,
        [
            *(settings.workspace_id, settings.channel, array(set(addresses))),
            *(settings.workspace_id, settings.channel, array({recipient.id for recipient in recipients})),
        ],
    )
    return SendPolicy(
        settings,
        now,
        {address for address, _ in rows if address is not None},
        _sent_times(settings, recipients, now) if settings.cap_count else {},
        {contact_id for _, contact_id in rows if contact_id is not None},
    )


_SUPPRESSED_OR_PENDING: Final = f"""
SELECT address, NULL::uuid FROM {Suppression._meta.db_table}
WHERE workspace_id = %s AND channel = %s AND address = ANY (%s::text[])
UNION ALL
SELECT NULL, contact_id FROM {PendingConsent._meta.db_table}
WHERE workspace_id = %s AND channel = %s AND contact_id = ANY (%s::uuid[])
"""


def is_unconfirmed(workspace_id: UUID, channel: str, contact_id: UUID) -> bool:
    """Tell whether a contact has an open double opt-in for the channel."""
    pending = PendingConsent.objects.in_workspace(workspace_id).filter(channel=channel, contact_id=contact_id)
    return pending.exists()


def _sent_times(
    settings: ChannelSettings, recipients: Collection[Recipient], now: datetime
) -> dict[UUID, list[datetime]]:
    """Return when messages left that count for the cap, by recipient; transactional ones and tests do not count."""
    since = now - timedelta(hours=settings.cap_hours)
    recipient_id_of: Mapping[UUID, UUID] = {
        contact_id: recipient.id for recipient in recipients for contact_id in recipient.ids
    }
    # For each few messages, like the settings.
    rows: Sequence[tuple[UUID, datetime]] = fetch_all(
        _SENT_TIMES, [settings.workspace_id, array(recipient_id_of), settings.channel, since, since]
    )
    left: dict[UUID, list[datetime]] = defaultdict(list)
    for contact_id, at in rows:
        left[recipient_id_of[contact_id]].append(at)
    return left


_SENT_TIMES: Final = f"""
SELECT contact_id, COALESCE(sent_at, claimed_at) AS at FROM {Message._meta.db_table}
WHERE workspace_id = %s AND contact_id = ANY (%s::uuid[]) AND channel = %s
    AND NOT is_transactional AND NOT is_test
    AND (status IN ({_listed(_LEFT)}) AND sent_at > %s OR status IN ({_listed(_LEAVING)}) AND claimed_at > %s)
ORDER BY at DESC
"""


def _is_within(moment: time, start: time, end: time) -> bool:
    """Tell whether a time of day is in hours that may go past midnight."""
    return start <= moment < end if start < end else moment >= start or moment < end
