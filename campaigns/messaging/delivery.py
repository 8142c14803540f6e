"""Delivery: claimed in one transaction, sent outside any, recorded in another.

A message is claimed only by who sends it at once, so that of a killed worker no more are unknown than it had in hand.
What goes no further than the local inbox, which is a table beside, needs no claim: it is there, and noted as sent, by
one commit.
"""

from __future__ import annotations

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final
from uuid import UUID

from django.conf import settings as django_settings
from django.db import DataError, connection, transaction
from django.db.models import Count

from campaigns.messaging.cancellation import CANCELLING
from campaigns.messaging.channels import Bounce, Bounced, MaybeSent, NotSent, email, inbox, telegram, webhook
from campaigns.messaging.policy import SendDecision, SendPolicy, SendRequest, load_send_policy, settings_of
from campaigns.messaging.recipients import ADDRESS_KINDS, Recipient, load_recipients
from campaigns.messaging.release import wake_held_messages
from campaigns.messaging.suppressions import record_bounces
from campaigns.metrics import DELIVERIES, DELIVERY_SECONDS
from campaigns.models import Campaign, ChannelSettings, Decision, Enrollment, Message, NewDecision, SentEmail
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from config import clock
from config.db.arrays import array
from config.db.errors import storable_text
from config.db.lookups import any_of
from config.runtime.schedule import notify_beat
from events.models import EffectsLevel, Event
from events.stream.derived_events import DerivedEvent, record_derived_events

logger = logging.getLogger(__name__)

SENDERS: Final[Mapping[str, Callable[[Message, ChannelSettings], str]]] = {
    Channel.EMAIL: email.send,
    Channel.WEBHOOK: webhook.send,
    Channel.TELEGRAM: telegram.send,
}
# As Standard Webhooks proposes; the last one stays.
BACKOFF: Final = tuple(
    timedelta(seconds=seconds)
    for seconds in (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600)
)
MAX_RETRY_AFTER: Final = timedelta(days=1)
_MAX_ERROR_LENGTH: Final = 2_000
LOCAL_BATCH: Final = 100
"""Messages that one transaction puts into the local inbox."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that is this worker's to send now."""

    message: Message
    settings: ChannelSettings


@dataclass(frozen=True, slots=True)
class Sent:
    """It left."""

    provider_id: str


Outcome = Sent | NotSent | MaybeSent


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of a claimed message."""

    claimed: Claimed
    outcome: Outcome
    at: datetime


def waiting_channels(now: datetime) -> list[tuple[UUID, str]]:
    """Return the workspaces and channels that have messages ready to leave."""
    ready = Message.objects.filter(status=Message.Status.QUEUED, send_at__lte=now)
    return list(ready.order_by().values_list("workspace_id", "channel").distinct())


def deliver_ready(workspace_id: UUID, channel: str, *, at_most: int = 1_000) -> int:
    """Send what is ready, one after the other, and return how many attempts it took."""
    if is_local(channel):
        attempts = 0
        while attempts < at_most and (some := deliver_locally(workspace_id, channel)):
            attempts += some
        return attempts
    for attempts in range(at_most):
        claimed = claim_messages(workspace_id, channel, at_most=1)
        if not claimed:
            return attempts
        record_attempts(workspace_id, [send(one) for one in claimed])
    return at_most


def is_local(channel: str) -> bool:
    """Whether what a channel sends stays in our own database."""
    return channel == Channel.EMAIL and inbox.is_used()


def deliver_locally(workspace_id: UUID, channel: str, *, at_most: int = LOCAL_BATCH) -> int:
    """Put some messages that are ready into the local inbox. Returns how many were looked at; 0: none is ready."""
    if django_settings.DELIVERY_PAUSED:
        return 0
    with transaction.atomic(durable=True):
        messages = _take(workspace_id, channel, at_most)
        if not messages:
            return 0
        settings = _settings_to_send_with(workspace_id, channel)
        leaving = _admit(settings, messages, clock.now())
        attempts = _store_in_inbox([Claimed(message, settings) for message in leaving])
        record_attempts(workspace_id, attempts)
    for attempt in attempts:
        DELIVERIES.labels(channel, _word(attempt.outcome)).inc()
    inbox.make_room()
    return len(messages)


def claim_messages(workspace_id: UUID, channel: str, *, at_most: int) -> list[Claimed]:
    """Take messages to send now, the most urgent first, a few per host; none: there is nothing to send.

    Those that may not leave any more are cancelled, and those that may not yet are deferred.
    """
    if django_settings.DELIVERY_PAUSED:
        return []
    while True:
        with transaction.atomic(durable=True):
            messages = _take(workspace_id, channel, at_most)
            if not messages:
                return []
            # Read with the messages in hand: who edits the settings waits for them, and frees what they held.
            settings = _settings_to_send_with(workspace_id, channel)
            claimed = _admit(settings, messages, clock.now())
        if claimed:
            return [Claimed(message, settings) for message in claimed]


def send(claimed: Claimed) -> Attempt:
    """Send one message, and count it. Takes no part in any transaction, and never raises."""
    began = monotonic()
    attempt = _send(claimed)
    channel = claimed.message.channel
    DELIVERY_SECONDS.labels(channel).observe(monotonic() - began)
    DELIVERIES.labels(channel, _word(attempt.outcome)).inc()
    return attempt


def _word(outcome: Outcome) -> str:
    match outcome:
        case Sent():
            return "sent"
        case Bounced():
            return "bounced"
        case NotSent(is_permanent=True):
            return "refused"
        case NotSent():
            return "failed"
    return "unknown"


def _send(claimed: Claimed) -> Attempt:
    message = claimed.message
    try:
        provider_id = SENDERS[message.channel](message, claimed.settings)
    except (NotSent, MaybeSent) as outcome:
        return Attempt(claimed, outcome, clock.now())
    except Exception as error:
        logger.exception("Message %s broke its channel", message.pk)
        return Attempt(claimed, MaybeSent(f"{type(error).__name__}: {error}"), clock.now())
    return Attempt(claimed, Sent(provider_id), clock.now())


@transaction.atomic
def record_attempts(workspace_id: UUID, attempts: Sequence[Attempt]) -> None:
    """Note what became of messages, and tell the stream."""
    record = _Record(workspace_id)
    for attempt in attempts:
        record.add(attempt.claimed.message, attempt)
    record.write()


def host_limit(channel: str) -> int | None:
    """Return how many messages to one host may be under way; None: all go by way of one that we chose ourselves."""
    return django_settings.DELIVERIES_PER_HOST if channel == Channel.WEBHOOK else None


# The local inbox -----------------------------------------------------------------------------------------------


def _store_in_inbox(leaving: Sequence[Claimed]) -> list[Attempt]:
    """Save what messages are in the inbox. One that cannot be saved has not left, and holds up no other."""
    attempts, rows = [], []
    for claimed in leaving:
        try:
            provider_id, row = email.store_in_inbox(claimed.message, claimed.settings)
        except NotSent as refusal:
            attempts.append(Attempt(claimed, refusal, clock.now()))
        except Exception as error:
            logger.exception("Message %s broke its channel", claimed.message.pk)
            broke = NotSent(f"{type(error).__name__}: {error}", is_permanent=False)
            attempts.append(Attempt(claimed, broke, clock.now()))
        else:
            rows.append(row)
            attempts.append(Attempt(claimed, Sent(provider_id), clock.now()))
    refused = _save_rows(rows)
    return [
        replace(attempt, outcome=refused.get(attempt.claimed.message.pk, attempt.outcome))
        for attempt in attempts
    ]


def _save_rows(rows: Sequence[SentEmail]) -> dict[UUID | None, NotSent]:
    """Save them all, or each that can be. Returns, by message, why others cannot."""
    try:
        with transaction.atomic():
            SentEmail.objects.bulk_create(rows)
    except (DataError, ValueError) as error:
        if len(rows) == 1:
            return {rows[0].message_id: NotSent(f"not an e-mail: {error}", is_permanent=True)}
        return {message_id: why for row in rows for message_id, why in _save_rows([row]).items()}
    return {}


# Claiming ------------------------------------------------------------------------------------------------------


def _settings_to_send_with(workspace_id: UUID, channel: str) -> ChannelSettings:
    """Return how the workspace uses the channel; with the first webhook it gets a secret to sign with."""
    settings = settings_of(workspace_id, channel)
    if channel == Channel.WEBHOOK and not settings.secret:
        ChannelSettings.objects.bulk_create([settings], ignore_conflicts=True)
        row = ChannelSettings.objects.filter(workspace_id=workspace_id, channel=channel, secret="")
        row.update(secret=webhook.new_secret())
        settings = settings_of(workspace_id, channel)
    return settings


def _take(workspace_id: UUID, channel: str, at_most: int) -> list[Message]:
    """Lock some that are ready; those of paused campaigns stay where they are."""
    limit = host_limit(channel)
    under_way: Counter[str] = Counter()
    if limit is not None:
        _hold_hosts(workspace_id)
        under_way = _under_way(workspace_id, channel)
    full = [host for host, count in under_way.items() if limit is not None and count >= limit]
    parameters = [workspace_id, workspace_id, channel, clock.now(), workspace_id, array(full), at_most]
    taken = []
    for message in Message.objects.raw(_TAKE, parameters):
        if limit is None or under_way[message.host] < limit:
            under_way[message.host] += 1
            taken.append(message)
    return taken


_TAKE: Final = f"""
SELECT m.*, (
    SELECT status FROM campaigns_campaign WHERE workspace_id = %s AND id = m.campaign_id
) AS campaign_status
FROM campaigns_message m
WHERE m.workspace_id = %s AND m.channel = %s AND m.status = '{Message.Status.QUEUED}' AND m.send_at <= %s
    AND (m.campaign_id IS NULL OR m.campaign_id <> ALL (ARRAY(
        SELECT id FROM campaigns_campaign WHERE workspace_id = %s AND status = '{Campaign.Status.PAUSED}'
    )))
    AND m.host <> ALL (%s::text[])
ORDER BY m.priority DESC, m.send_at LIMIT %s FOR UPDATE OF m SKIP LOCKED
"""


def _hold_hosts(workspace_id: UUID) -> None:
    """Let nobody else claim until the commit: two that count a host's messages at once would exceed its limit."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('message hosts ' || %s, 0))", [str(workspace_id)]
        )


def _under_way(workspace_id: UUID, channel: str) -> Counter[str]:
    sending = Message.objects.in_workspace(workspace_id).filter(
        status=Message.Status.SENDING, channel=channel
    )
    return Counter(dict(sending.order_by().values_list("host").annotate(count=Count("id"))))


def _admit(settings: ChannelSettings, messages: Sequence[Message], now: datetime) -> list[Message]:
    """Judge messages, in this order, by what holds now, and mark those that leave."""
    workspace_id = settings.workspace_id
    people = load_recipients(workspace_id, {message.contact_id for message in messages})
    if settings.cap_count is not None:
        held = _hold_people(workspace_id, people.values())
        messages = [
            one for one in messages if one.contact_id not in people or people[one.contact_id].id in held
        ]
    addresses = {one.pk: _address_now(one, people.get(one.contact_id)) for one in messages}
    permission = load_send_policy(settings, people.values(), addresses.values(), now=now)
    overtaken = _overtaken(workspace_id, messages)
    leaving, put_off, decisions = [], [], []
    for message in messages:
        address = addresses[message.pk]
        verdict = _judge(message, address, people.get(message.contact_id), permission, overtaken)
        if verdict.reason is None:
            message.address = address
            leaving.append(message)
        else:
            put_off.append(message)
            decisions.append(_put_off(message, verdict, now))
    _mark(workspace_id, leaving, now)
    _write(workspace_id, put_off)
    Decision.objects.record(workspace_id, decisions)
    return leaving


def _address_now(message: Message, person: Recipient | None) -> str:
    """Return where a message goes: a contact may have another address than when it was reserved, or none.

    A test goes where it was to go, and a call to the address that its body was made for.
    """
    if person is None or message.is_test or message.channel not in ADDRESS_KINDS:
        return message.address
    return person.address(message.channel)


def _judge(
    message: Message,
    address: str,
    person: Recipient | None,
    permission: SendPolicy,
    overtaken: Mapping[UUID | None, str],
) -> SendDecision:
    if (why := overtaken.get(message.enrollment_id)) is not None:
        return SendDecision(Reason(why))
    if person is None:
        return SendDecision(Reason.ERASED)
    if getattr(message, "campaign_status", "") == Campaign.Status.ARCHIVED:
        return SendDecision(Reason.ARCHIVED)
    asked = SendRequest(person, address, message.is_transactional, message.is_test)
    verdict = permission.judge(asked)
    if verdict.reason is None:
        permission.count(asked)
    return verdict


def _overtaken(workspace_id: UUID, messages: Sequence[Message]) -> dict[UUID | None, str]:
    """Return why enrollments have ended of which a message failed: while it was under way nobody could cancel it."""
    enrollment_ids = {
        one.enrollment_id
        for one in messages
        if one.attempts and one.enrollment_id and one.channel != Channel.WEBHOOK
    }
    if not enrollment_ids:
        return {}
    enrollments = Enrollment.objects.in_workspace(workspace_id).filter(
        any_of("id", enrollment_ids), any_of("end_reason", sorted(CANCELLING))
    )
    return dict(enrollments.values_list("id", "end_reason"))


def _hold_people(workspace_id: UUID, people: Iterable[Recipient]) -> set[UUID]:
    """Return those whom nobody else is claiming messages for: two that count for one cap are claimed one by one."""
    ids = sorted({person.id for person in people})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM unnest(%s::uuid[]) AS one (id)"
            " WHERE pg_try_advisory_xact_lock(hashtextextended('message cap ' || %s || id, 0))",
            [ids, str(workspace_id)],
        )
        return {row[0] for row in cursor.fetchall()}


def _mark(workspace_id: UUID, messages: Sequence[Message], now: datetime) -> None:
    """Note messages as claimed, with the address that each goes to."""
    if not messages:
        return
    for message in messages:
        message.status = Message.Status.SENDING
        message.claimed_at = now
        message.attempts += 1
    ids, addresses = array([one.pk for one in messages]), array([one.address for one in messages])
    with connection.cursor() as cursor:
        cursor.execute(_MARK, [now, ids, addresses, workspace_id])


_MARK: Final = f"""
UPDATE campaigns_message m
SET status = '{Message.Status.SENDING}', claimed_at = %s, attempts = m.attempts + 1, address = w.address
FROM unnest(%s::uuid[], %s::text[]) AS w (id, address)
WHERE m.workspace_id = %s AND m.id = w.id
"""


def _put_off(message: Message, verdict: SendDecision, now: datetime) -> NewDecision:
    if verdict.until is None:
        message.status = Message.Status.CANCELLED
        message.error = verdict.reason or ""
        return NewDecision.about(message, Decision.Kind.NOT_SENT, verdict.reason, now)
    message.send_at = verdict.until
    notify_beat("messages", message.send_at)
    detail = {"until": verdict.until.isoformat()}
    return NewDecision.about(message, Decision.Kind.DEFERRED, verdict.reason, now, detail)


# Recording -----------------------------------------------------------------------------------------------------


class _Record:
    """What is to be written of some attempts."""

    def __init__(self, workspace_id: UUID) -> None:
        self.workspace_id = workspace_id
        self.messages: list[Message] = []
        self.decisions: list[NewDecision] = []
        self.told: list[tuple[str, Message, datetime, Mapping[str, str]]] = []
        self.bounced: list[tuple[Message, Bounce]] = []
        # Those that counted for a cap and have not left.
        self.freed: list[Message] = []

    def add(self, message: Message, attempt: Attempt) -> None:
        """Note what became of one message."""
        self.messages.append(message)
        outcome = attempt.outcome
        match outcome:
            case Sent():
                self._sent(message, outcome, attempt.at)
            case Bounced():
                self._bounced(message, outcome, attempt.at)
            case NotSent():
                self._not_sent(message, outcome, attempt)
            case MaybeSent():
                self._maybe_sent(message, outcome, attempt)

    def write(self) -> None:
        """Write it all, of the messages that nobody has settled otherwise."""
        ours = _settle(self.workspace_id, self.messages)
        Decision.objects.record(self.workspace_id, (one for one in self.decisions if one.message_id in ours))
        record_bounces([one for one in self.bounced if one[0].pk in ours], clock.now())
        tell(self.workspace_id, [one for one in self.told if one[1].pk in ours])
        freed: dict[str, set[UUID]] = defaultdict(set)
        for message in self.freed:
            if message.pk in ours:
                freed[message.channel].add(message.contact_id)
        for channel, contact_ids in freed.items():
            wake_held_messages(self.workspace_id, channel, contact_ids=contact_ids)

    def _sent(self, message: Message, outcome: Sent, at: datetime) -> None:
        message.status, message.sent_at, message.error = Message.Status.SENT, at, ""
        message.provider_id = outcome.provider_id[:255]
        self.decisions.append(NewDecision.about(message, Decision.Kind.SENT, None, at))
        self.told.append(("message.sent", message, at, {}))

    def _bounced(self, message: Message, outcome: NotSent, at: datetime) -> None:
        message.status, message.error = Message.Status.BOUNCED, storable_text(outcome, _MAX_ERROR_LENGTH)
        self.decisions.append(
            NewDecision.about(message, Decision.Kind.NOT_SENT, Reason.BOUNCED, at, {"message": message.error})
        )
        self.told.append(("message.bounced", message, at, {"reason": message.error}))
        self.bounced.append((message, outcome.bounce))

    def _not_sent(self, message: Message, outcome: NotSent, attempt: Attempt) -> None:
        message.error = storable_text(outcome, _MAX_ERROR_LENGTH)
        if not outcome.is_permanent and message.attempts < attempt.claimed.settings.max_attempts:
            message.status = Message.Status.QUEUED
            message.send_at = attempt.at + _pause(message.attempts, outcome.retry_after)
            notify_beat("messages", message.send_at)
            return
        if outcome.bounce is Bounce.SOFT:
            self._bounced(message, outcome, attempt.at)
            return
        message.status = Message.Status.FAILED
        if attempt.claimed.settings.cap_count is not None:
            self.freed.append(message)
        self.decisions.append(
            NewDecision.about(
                message, Decision.Kind.NOT_SENT, Reason.SEND_FAILED, attempt.at, {"message": message.error}
            )
        )

    def _maybe_sent(self, message: Message, outcome: MaybeSent, attempt: Attempt) -> None:
        if attempt.claimed.settings.on_unknown == ChannelSettings.OnUnknown.RETRY:
            self._not_sent(
                message, NotSent(storable_text(outcome, _MAX_ERROR_LENGTH), is_permanent=False), attempt
            )
            return
        message.status, message.error = Message.Status.UNKNOWN, storable_text(outcome, _MAX_ERROR_LENGTH)
        self.decisions.append(
            NewDecision.about(
                message, Decision.Kind.NOT_SENT, Reason.UNKNOWN, attempt.at, {"message": message.error}
            )
        )


def _write(workspace_id: UUID, messages: Sequence[Message]) -> None:
    if messages:
        with connection.cursor() as cursor:
            cursor.execute(_WRITE, _written(workspace_id, messages))


def _settle(workspace_id: UUID, messages: Sequence[Message]) -> set[UUID]:
    """Write messages that are still as they were claimed: a late answer settles also what became unknown.

    Returns which these were.
    """
    if not messages:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(_SETTLE, _written(workspace_id, sorted(messages, key=lambda one: one.pk)))
        return {message_id for (message_id,) in cursor.fetchall()}


def _written(workspace_id: UUID, messages: Sequence[Message]) -> list[Any]:
    return [*(array([getattr(one, name) for one in messages]) for name in _WRITTEN), workspace_id]


# The order of the columns in the statement.
_WRITTEN: Final = ("pk", "status", "sent_at", "send_at", "provider_id", "error", "claimed_at")
_WRITE: Final = """
UPDATE campaigns_message m
SET status = w.status, sent_at = w.sent_at, send_at = w.send_at, provider_id = w.provider_id, error = w.error
FROM unnest(
    %s::uuid[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::text[], %s::timestamptz[]
) AS w (id, status, sent_at, send_at, provider_id, error, claimed_at)
WHERE m.workspace_id = %s AND m.id = w.id
"""
_SETTLE: Final = f"""{_WRITE}
    AND m.status IN ('{Message.Status.SENDING}', '{Message.Status.UNKNOWN}')
    AND m.claimed_at IS NOT DISTINCT FROM w.claimed_at
RETURNING m.id
"""


def _pause(attempts: int, retry_after: float | None) -> timedelta:
    """Return how long to wait before another attempt: some more than planned, so that not all come at once."""
    planned = BACKOFF[min(attempts, len(BACKOFF)) - 1] * random.uniform(1.0, 1.2)  # noqa: S311  # no secret
    asked = min(timedelta(seconds=retry_after or 0.0), MAX_RETRY_AFTER)
    return max(planned, asked)


def tell(workspace_id: UUID, news: Sequence[tuple[str, Message, datetime, Mapping[str, Any]]]) -> None:
    """Record what happened to messages as events of the stream; of tests nothing is told."""
    news = [one for one in news if not one[1].is_test]
    enrollments = _enrollments(
        workspace_id, {message.enrollment_id for _, message, _, _ in news if message.enrollment_id}
    )
    alone = {
        message.event_id
        for _, message, _, _ in news
        if message.event_id and message.enrollment_id not in enrollments
    }
    depths = _depths(workspace_id, alone)
    consequences = []
    for name, message, at, more in news:
        # An enrollment counts on from the event that started it, and is of its level.
        depth, level = enrollments.get(
            message.enrollment_id, (depths.get(message.event_id, 0), EffectsLevel.ALL)
        )
        consequences.append(
            DerivedEvent(
                name,
                message.contact_id,
                at,
                {**event_properties(message), **more},
                level=EffectsLevel(level) if name in _OURS else EffectsLevel.ALL,
                cause_id=message.event_id,
                depth=depth,
            )
        )
    if consequences:
        record_derived_events(workspace_id, consequences, now=clock.now())


def event_properties(message: Message) -> dict[str, str]:
    """Return what events say of a message."""
    campaign = {"campaignId": str(message.campaign_id)} if message.campaign_id else {}
    return {"messageId": str(message.pk), **campaign, "channel": message.channel}


# What we do, and what comes of it at once. A reader's click is news, whatever the message was about.
_OURS: Final = ("message.sent", "message.bounced")


def _enrollments(workspace_id: UUID, enrollment_ids: set[UUID]) -> dict[UUID | None, tuple[int, int]]:
    """Return the depths and levels of what enrollments do to the stream."""
    if not enrollment_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, depth, level FROM campaigns_enrollment WHERE workspace_id = %s AND id = ANY (%s::uuid[])",
            [workspace_id, array(enrollment_ids)],
        )
        return {enrollment_id: (depth, level) for enrollment_id, depth, level in cursor.fetchall()}


def _depths(workspace_id: UUID, event_ids: set[UUID]) -> dict[UUID | None, int]:
    """Return the depths of what follows from events."""
    if not event_ids:
        return {}
    events = Event.objects.filter(
        any_of("id", event_ids), workspace_id=workspace_id, id__gte=min(event_ids), id__lte=max(event_ids)
    )
    return {event_id: depth + 1 for event_id, depth in events.values_list("id", "depth")}
