"""Who may be written to, when, and how often: judged when a message is reserved, and again when it leaves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from campaigns.messaging.recipients import Recipient
from campaigns.models import ChannelSettings, Message, PendingConsent, Suppression
from campaigns.reasons import Reason
from config.db.arrays import array
from config.db.lookups import any_of
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


@dataclass(frozen=True, slots=True)
class SendDecision:
    """Whether a message may leave now, later, or never."""

    reason: Reason | None = None
    # None: never, where there is a reason.
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class SendRequest:
    """A message that asks to leave."""

    person: Recipient
    address: str
    is_transactional: bool = False
    is_test: bool = False

    @property
    def asks_for_room(self) -> bool:
        """Whether consent, quiet hours and caps are for it."""
        return not (self.is_transactional or self.is_test)


@dataclass(slots=True)
class SendPolicy:
    """What decides for some messages of one channel; read in two statements, whatever their number."""

    settings: ChannelSettings
    now: datetime
    suppressed: set[str]
    # Of each person, when what counts for the cap left, the latest first.
    left_at: dict[UUID, list[datetime]] = field(default_factory=dict)
    # Who came by a form with double opt-in and has not confirmed.
    unconfirmed: set[UUID] = field(default_factory=set)

    def judge(self, asked: SendRequest) -> SendDecision:
        """Tell whether a message may leave; what may never is told before what may not yet."""
        if not asked.address:
            return SendDecision(Reason.NO_ADDRESS)
        if asked.address in self.suppressed:
            return SendDecision(Reason.SUPPRESSED)
        if not asked.asks_for_room:
            return SendDecision()
        if refusal := self._consent(asked.person):
            return SendDecision(refusal)
        if (until := self._room_at(asked.person)) > self.now:
            later = self._quiet_until(asked.person, until)
            return SendDecision(Reason.CAPPED, later)
        if (until := self._quiet_until(asked.person, self.now)) > self.now:
            return SendDecision(Reason.QUIET_HOURS, until)
        return SendDecision()

    def count(self, asked: SendRequest) -> None:
        """Note that a message leaves now, so that the next one to the person is judged after it."""
        if asked.asks_for_room:
            self.left_at.setdefault(asked.person.id, []).insert(0, self.now)

    def _consent(self, person: Recipient) -> Reason | None:
        said = person.state.consents.get(self.settings.channel)
        if said == Consent.Status.OPTED_OUT:
            return Reason.OPTED_OUT
        if said is None and (self.settings.requires_opt_in or person.id in self.unconfirmed):
            return Reason.NO_CONSENT
        return None

    def _room_at(self, person: Recipient) -> datetime:
        """Return when the cap lets another one through."""
        count = self.settings.cap_count
        if count is None:
            return self.now
        window = timedelta(hours=self.settings.cap_hours)
        left = self.left_at.get(person.id, ())
        return left[count - 1] + window if len(left) >= count else self.now

    def _quiet_until(self, person: Recipient, at: datetime) -> datetime:
        """Return `at`, or the end of the quiet hours that it is in."""
        start, end = self.settings.quiet_from, self.settings.quiet_until
        if start is None or end is None or start == end:
            return at
        zone = person.time_zone(self.settings.time_zone)
        local = at.astimezone(zone)
        if not _is_within(local.time(), start, end):
            return at
        day = local.date() + timedelta(days=1 if local.time() >= end else 0)
        return datetime.combine(day, end, zone).astimezone(at.tzinfo)


def settings_of(workspace_id: UUID, channel: str) -> ChannelSettings:
    """Return how a workspace uses a channel; where it says nothing, the defaults."""
    # Asked for each few messages: the ORM takes longer to put it together than the database to answer it.
    rows = ChannelSettings.objects.raw(_SETTINGS, [workspace_id, channel])
    return next(iter(rows), None) or ChannelSettings(workspace_id=workspace_id, channel=channel)


_SETTINGS: Final = f"SELECT * FROM {ChannelSettings._meta.db_table} WHERE workspace_id = %s AND channel = %s"


def load_send_policy(
    settings: ChannelSettings, people: Collection[Recipient], addresses: Collection[str], *, now: datetime
) -> SendPolicy:
    """Read what decides for messages to these people and addresses."""
    with connection.cursor() as cursor:
        cursor.execute(
            _KEPT_FROM,
            [
                *(settings.workspace_id, settings.channel, array(set(addresses))),
                *(settings.workspace_id, settings.channel, array({person.id for person in people})),
            ],
        )
        rows = cursor.fetchall()
    return SendPolicy(
        settings,
        now,
        {address for address, _ in rows if address is not None},
        _left_at(settings, people, now) if settings.cap_count else {},
        {contact_id for _, contact_id in rows if contact_id is not None},
    )


_KEPT_FROM: Final = f"""
SELECT address, NULL::uuid FROM {Suppression._meta.db_table}
WHERE workspace_id = %s AND channel = %s AND address = ANY (%s::text[])
UNION ALL
SELECT NULL, contact_id FROM {PendingConsent._meta.db_table}
WHERE workspace_id = %s AND channel = %s AND contact_id = ANY (%s::uuid[])
"""


def is_unconfirmed(workspace_id: UUID, channel: str, contact_id: UUID) -> bool:
    """Tell whether a person came by a form with double opt-in to the channel and has not confirmed."""
    pending = PendingConsent.objects.filter(workspace_id=workspace_id, channel=channel, contact_id=contact_id)
    return pending.exists()


def _left_at(
    settings: ChannelSettings, people: Collection[Recipient], now: datetime
) -> dict[UUID, list[datetime]]:
    """Return when messages left that count for the cap: the transactional and the tests do not."""
    since = now - timedelta(hours=settings.cap_hours)
    person_of: Mapping[UUID, UUID] = {one: person.id for person in people for one in person.ids}
    rows: Sequence[tuple[UUID, datetime]] = list(
        Message.objects.in_workspace(settings.workspace_id)
        .filter(
            any_of("contact_id", person_of),
            Q(status__in=_LEFT, sent_at__gt=since) | Q(status__in=_LEAVING, claimed_at__gt=since),
            channel=settings.channel,
            is_transactional=False,
            is_test=False,
        )
        .annotate(at=Coalesce(F("sent_at"), F("claimed_at")))
        .order_by("-at")
        .values_list("contact_id", "at")
    )
    left: dict[UUID, list[datetime]] = defaultdict(list)
    for contact_id, at in rows:
        left[person_of[contact_id]].append(at)
    return left


def _is_within(moment: time, start: time, end: time) -> bool:
    """Tell whether a time of day is in hours that may go past midnight."""
    return start <= moment < end if start < end else moment >= start or moment < end
