"""Deliver messages: claim in one transaction, send outside any, record the attempt in another.

A worker claims only what it sends at once, so that few messages are unknown after it is killed. The local inbox is a
table, so its messages need no claim: one commit stores and records them.
"""

from __future__ import annotations

import logging
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final
from uuid import UUID

from django.conf import settings as django_settings
from django.db import DataError, transaction
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
from config.beat_schedule import DELIVER_DUE_MESSAGES
from config.db.arrays import array
from config.db.errors import storable_text
from config.db.lookups import any_of
from config.db.statements import execute, fetch_all
from config.runtime.beat_notifications import notify_beat
from events.models import EffectsLevel, Event
from events.names import MESSAGE_BOUNCED, MESSAGE_SENT
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
"""Messages per transaction into the local inbox."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this worker has to send now, with the settings of its channel."""

    message: Message
    settings: ChannelSettings


@dataclass(frozen=True, slots=True)
class Sent:
    """The provider took the message."""

    provider_id: str


Outcome = Sent | NotSent | MaybeSent


@dataclass(frozen=True, slots=True)
class Attempt:
    """The outcome of sending a claimed message."""

    claimed: Claimed
    outcome: Outcome
    at: datetime


@dataclass(frozen=True, slots=True)
class MessageEvent:
    """Something that happened to a message, to be published as an event of the stream."""

    name: str
    message: Message
    at: datetime
    properties: Mapping[str, Any] = field(default_factory=dict)


def waiting_channels(now: datetime) -> list[tuple[UUID, str]]:
    """Return each workspace id and channel with messages that are due."""
    ready = Message.objects.filter(status=Message.Status.QUEUED, send_at__lte=now)
    return list(ready.order_by().values_list("workspace_id", "channel").distinct())


def is_local(channel: str) -> bool:
    """Whether what a channel sends stays in our own database."""
    return channel == Channel.EMAIL and inbox.is_used()


def deliver_locally(workspace_id: UUID, channel: str, *, at_most: int = LOCAL_BATCH) -> int:
    """Store messages that are due in the local inbox. Returns how many were looked at; 0: none is due."""
    if django_settings.DELIVERY_PAUSED:
        return 0
    with transaction.atomic(durable=True):
        messages = _lock_ready(workspace_id, channel, at_most)
        if not messages:
            return 0
        settings = _settings_with_secret(workspace_id, channel)
        leaving = _claim_allowed(settings, messages, clock.now())
        attempts = _store_in_inbox([Claimed(message, settings) for message in leaving])
        record_attempts(workspace_id, attempts)
    for attempt in attempts:
        DELIVERIES.labels(channel, _outcome_label(attempt.outcome)).inc()
    inbox.make_room()
    return len(messages)


def claim_messages(workspace_id: UUID, channel: str, *, at_most: int) -> list[Claimed]:
    """Claim messages to send now, by priority, a few per host; [] where nothing is due.

    Messages that the policy refuses are cancelled or deferred.
    """
    return [] if django_settings.DELIVERY_PAUSED else claim_ready(workspace_id, channel, at_most=at_most)


def claim_ready(workspace_id: UUID, channel: str, *, at_most: int) -> list[Claimed]:
    """Claim messages as `claim_messages` does, also where delivery is paused."""
    while True:
        with transaction.atomic(durable=True):
            messages = _lock_ready(workspace_id, channel, at_most)
            if not messages:
                return []
            # Read while the messages are locked: who edits the settings waits, and then wakes what was
            # deferred by them.
            settings = _settings_with_secret(workspace_id, channel)
            claimed = _claim_allowed(settings, messages, clock.now())
        if claimed:
            return [Claimed(message, settings) for message in claimed]


def send(claimed: Claimed) -> Attempt:
    """Send one message and count it in the metrics. Outside of any transaction; never raises."""
    began = monotonic()
    attempt = _send(claimed)
    channel = claimed.message.channel
    DELIVERY_SECONDS.labels(channel).observe(monotonic() - began)
    DELIVERIES.labels(channel, _outcome_label(attempt.outcome)).inc()
    return attempt


def _outcome_label(outcome: Outcome) -> str:
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
    """Record the outcomes: statuses, decisions, bounces, and events of the stream."""
    record = _AttemptRecorder(workspace_id)
    for attempt in attempts:
        record.add(attempt.claimed.message, attempt)
    record.write()


def host_limit(channel: str) -> int | None:
    """Return how many messages to one host may be under way; None: no limit, the host is our own provider's."""
    return django_settings.DELIVERIES_PER_HOST if channel == Channel.WEBHOOK else None


# The local inbox -----------------------------------------------------------------------------------------------


def _store_in_inbox(leaving: Sequence[Claimed]) -> list[Attempt]:
    """Save messages as rows of the inbox. One that cannot be saved has not left, and holds up no other."""
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
    """Save all rows, or each that can be. Returns, by message, why it could not be saved."""
    try:
        with transaction.atomic():
            SentEmail.objects.bulk_create(rows)
    except (DataError, ValueError) as error:
        if len(rows) == 1:
            return {rows[0].message_id: NotSent(f"not an e-mail: {error}", is_permanent=True)}
        return {message_id: error for row in rows for message_id, error in _save_rows([row]).items()}
    return {}


# Claiming ------------------------------------------------------------------------------------------------------


def _settings_with_secret(workspace_id: UUID, channel: str) -> ChannelSettings:
    """Return the settings of a channel; the webhook channel gets a signing secret if it has none."""
    settings = settings_of(workspace_id, channel)
    if channel == Channel.WEBHOOK and not settings.secret:
        ChannelSettings.objects.bulk_create([settings], ignore_conflicts=True)
        row = ChannelSettings.objects.in_workspace(workspace_id).filter(channel=channel, secret="")
        row.update(secret=webhook.new_secret())
        settings = settings_of(workspace_id, channel)
    return settings


def _lock_ready(workspace_id: UUID, channel: str, at_most: int) -> list[Message]:
    """Lock messages that are due, by priority; those of paused campaigns stay queued."""
    limit = host_limit(channel)
    under_way: Counter[str] = Counter()
    if limit is not None:
        _lock_hosts(workspace_id)
        under_way = _under_way(workspace_id, channel)
    full = [host for host, count in under_way.items() if limit is not None and count >= limit]
    parameters = [workspace_id, workspace_id, channel, clock.now(), workspace_id, array(full), at_most]
    locked = []
    for message in Message.objects.raw(_LOCK_READY, parameters):
        if limit is None or under_way[message.host] < limit:
            under_way[message.host] += 1
            locked.append(message)
    return locked


_LOCK_READY: Final = f"""
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


def _lock_hosts(workspace_id: UUID) -> None:
    """Serialise claims until the commit: two that count a host's messages at once would exceed its limit."""
    execute("SELECT pg_advisory_xact_lock(hashtextextended('message hosts ' || %s, 0))", [str(workspace_id)])


def _under_way(workspace_id: UUID, channel: str) -> Counter[str]:
    sending = Message.objects.in_workspace(workspace_id).filter(
        status=Message.Status.SENDING, channel=channel
    )
    return Counter(dict(sending.order_by().values_list("host").annotate(count=Count("id"))))


def _claim_allowed(settings: ChannelSettings, messages: Sequence[Message], now: datetime) -> list[Message]:
    """Decide on messages in their order by the policy as of now, and mark those that leave as claimed."""
    workspace_id = settings.workspace_id
    recipients = load_recipients(workspace_id, {message.contact_id for message in messages})
    if settings.cap_count is not None:
        locked = _lock_recipients(workspace_id, recipients.values())
        messages = [
            message
            for message in messages
            if message.contact_id not in recipients or recipients[message.contact_id].id in locked
        ]
    addresses = {
        message.pk: _current_address(message, recipients.get(message.contact_id)) for message in messages
    }
    policy = load_send_policy(settings, recipients.values(), addresses.values(), now=now)
    end_reasons = _end_reasons(workspace_id, messages)
    leaving, stopped, decisions = [], [], []
    for message in messages:
        address = addresses[message.pk]
        decision = _decide(message, address, recipients.get(message.contact_id), policy, end_reasons)
        if decision.reason is None:
            message.address = address
            leaving.append(message)
        else:
            stopped.append(message)
            decisions.append(_defer_or_cancel(message, decision, now))
    _mark_sending(workspace_id, leaving, now)
    _write(workspace_id, stopped)
    Decision.objects.record(workspace_id, decisions)
    return leaving


def _current_address(message: Message, recipient: Recipient | None) -> str:
    """Return where a message goes: the contact's address may have changed since it was enqueued.

    Tests and webhooks keep theirs.
    """
    if recipient is None or message.is_test or message.channel not in ADDRESS_KINDS:
        return message.address
    return recipient.address(message.channel)


def _decide(
    message: Message,
    address: str,
    recipient: Recipient | None,
    policy: SendPolicy,
    end_reasons: Mapping[UUID | None, str],
) -> SendDecision:
    if (end_reason := end_reasons.get(message.enrollment_id)) is not None:
        return SendDecision(Reason(end_reason))
    if recipient is None:
        return SendDecision(Reason.ERASED)
    if getattr(message, "campaign_status", "") == Campaign.Status.ARCHIVED:
        return SendDecision(Reason.ARCHIVED)
    request = SendRequest(recipient, address, message.is_transactional, message.is_test)
    decision = policy.decide(request)
    if decision.reason is None:
        policy.count_sent(request)
    return decision


def _end_reasons(workspace_id: UUID, messages: Sequence[Message]) -> dict[UUID | None, str]:
    """Return the cancelling end reasons of enrollments whose message is retried: cancelling skips one under way."""
    enrollment_ids = {
        message.enrollment_id
        for message in messages
        if message.attempts and message.enrollment_id and message.channel != Channel.WEBHOOK
    }
    if not enrollment_ids:
        return {}
    enrollments = Enrollment.objects.in_workspace(workspace_id).filter(
        any_of("id", enrollment_ids), any_of("end_reason", sorted(CANCELLING))
    )
    return dict(enrollments.values_list("id", "end_reason"))


def _lock_recipients(workspace_id: UUID, recipients: Iterable[Recipient]) -> set[UUID]:
    """Lock recipients so that messages under one cap are claimed in turn. Returns the ids that were free."""
    ids = sorted({recipient.id for recipient in recipients})
    rows = fetch_all(
        "SELECT id FROM unnest(%s::uuid[]) AS recipient (id)"
        " WHERE pg_try_advisory_xact_lock(hashtextextended('message cap ' || %s || id, 0))",
        [ids, str(workspace_id)],
    )
    return {row[0] for row in rows}


def _mark_sending(workspace_id: UUID, messages: Sequence[Message], now: datetime) -> None:
    """Write messages as SENDING, with the address that each goes to."""
    if not messages:
        return
    for message in messages:
        message.status = Message.Status.SENDING
        message.claimed_at = now
        message.attempts += 1
    ids, addresses = (
        array([message.pk for message in messages]),
        array([message.address for message in messages]),
    )
    execute(_MARK_SENDING, [now, ids, addresses, workspace_id])


_MARK_SENDING: Final = f"""
UPDATE campaigns_message m
SET status = '{Message.Status.SENDING}', claimed_at = %s, attempts = m.attempts + 1, address = w.address
FROM unnest(%s::uuid[], %s::text[]) AS w (id, address)
WHERE m.workspace_id = %s AND m.id = w.id
"""


def _defer_or_cancel(message: Message, decision: SendDecision, now: datetime) -> NewDecision:
    if decision.until is None:
        message.status = Message.Status.CANCELLED
        message.error = decision.reason or ""
        return NewDecision.about(message, Decision.Kind.NOT_SENT, decision.reason, now)
    message.send_at = decision.until
    notify_beat(DELIVER_DUE_MESSAGES, message.send_at)
    detail = {"until": decision.until.isoformat()}
    return NewDecision.about(message, Decision.Kind.DEFERRED, decision.reason, now, detail)


# Recording -----------------------------------------------------------------------------------------------------


class _AttemptRecorder:
    """Collects what attempts change, and writes it at once."""

    def __init__(self, workspace_id: UUID) -> None:
        self.workspace_id = workspace_id
        self.messages: list[Message] = []
        self.decisions: list[NewDecision] = []
        self.events: list[MessageEvent] = []
        self.bounced: list[tuple[Message, Bounce]] = []
        # Messages that counted for a cap and have not left.
        self.cap_freed: list[Message] = []

    def add(self, message: Message, attempt: Attempt) -> None:
        """Add the outcome of one attempt."""
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
        """Write the outcomes, except of messages that were resolved otherwise meanwhile."""
        recorded = _write_if_claimed(self.workspace_id, self.messages)
        Decision.objects.record(
            self.workspace_id, (decision for decision in self.decisions if decision.message_id in recorded)
        )
        record_bounces(
            [(message, bounce) for message, bounce in self.bounced if message.pk in recorded], clock.now()
        )
        publish_message_events(
            self.workspace_id, [event for event in self.events if event.message.pk in recorded]
        )
        cap_freed: dict[str, set[UUID]] = defaultdict(set)
        for message in self.cap_freed:
            if message.pk in recorded:
                cap_freed[message.channel].add(message.contact_id)
        for channel, contact_ids in cap_freed.items():
            wake_held_messages(self.workspace_id, channel, contact_ids=contact_ids)

    def _sent(self, message: Message, outcome: Sent, at: datetime) -> None:
        message.status, message.sent_at, message.error = Message.Status.SENT, at, ""
        message.provider_id = outcome.provider_id[:255]
        self.decisions.append(NewDecision.about(message, Decision.Kind.SENT, None, at))
        self.events.append(MessageEvent(MESSAGE_SENT, message, at))

    def _bounced(self, message: Message, outcome: NotSent, at: datetime) -> None:
        message.status, message.error = Message.Status.BOUNCED, storable_text(outcome, _MAX_ERROR_LENGTH)
        self.decisions.append(
            NewDecision.about(message, Decision.Kind.NOT_SENT, Reason.BOUNCED, at, {"message": message.error})
        )
        self.events.append(MessageEvent(MESSAGE_BOUNCED, message, at, {"reason": message.error}))
        self.bounced.append((message, outcome.bounce))

    def _not_sent(self, message: Message, outcome: NotSent, attempt: Attempt) -> None:
        message.error = storable_text(outcome, _MAX_ERROR_LENGTH)
        if not outcome.is_permanent and message.attempts < attempt.claimed.settings.max_attempts:
            message.status = Message.Status.QUEUED
            message.send_at = attempt.at + _retry_delay(message.attempts, outcome.retry_after)
            notify_beat(DELIVER_DUE_MESSAGES, message.send_at)
            return
        if outcome.bounce is Bounce.SOFT:
            self._bounced(message, outcome, attempt.at)
            return
        message.status = Message.Status.FAILED
        if attempt.claimed.settings.cap_count is not None:
            self.cap_freed.append(message)
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
        execute(_WRITE, _columns_of(workspace_id, messages))


def _write_if_claimed(workspace_id: UUID, messages: Sequence[Message]) -> set[UUID]:
    """Write the outcomes of messages whose claim still stands; a late answer resolves an unknown one, too.

    Returns the ids of those written.
    """
    if not messages:
        return set()
    rows = fetch_all(
        _WRITE_IF_CLAIMED, _columns_of(workspace_id, sorted(messages, key=lambda message: message.pk))
    )
    return {message_id for (message_id,) in rows}


def _columns_of(workspace_id: UUID, messages: Sequence[Message]) -> list[Any]:
    return [*(array([getattr(message, name) for message in messages]) for name in _COLUMNS), workspace_id]


# The order of the columns in the statement.
_COLUMNS: Final = ("pk", "status", "sent_at", "send_at", "provider_id", "error", "claimed_at")
_WRITE: Final = """
UPDATE campaigns_message m
SET status = w.status, sent_at = w.sent_at, send_at = w.send_at, provider_id = w.provider_id, error = w.error
FROM unnest(
    %s::uuid[], %s::text[], %s::timestamptz[], %s::timestamptz[], %s::text[], %s::text[], %s::timestamptz[]
) AS w (id, status, sent_at, send_at, provider_id, error, claimed_at)
WHERE m.workspace_id = %s AND m.id = w.id
"""
_WRITE_IF_CLAIMED: Final = f"""{_WRITE}
    AND m.status IN ('{Message.Status.SENDING}', '{Message.Status.UNKNOWN}')
    AND m.claimed_at IS NOT DISTINCT FROM w.claimed_at
RETURNING m.id
"""


def _retry_delay(attempts: int, retry_after: float | None) -> timedelta:
    """Return the delay before the next attempt: the backoff with jitter, or what the receiver asked for if longer."""
    planned = BACKOFF[min(attempts, len(BACKOFF)) - 1] * random.uniform(1.0, 1.2)  # noqa: S311  # no secret
    requested = min(timedelta(seconds=retry_after or 0.0), MAX_RETRY_AFTER)
    return max(planned, requested)


def publish_message_events(workspace_id: UUID, events: Sequence[MessageEvent]) -> None:
    """Record what happened to messages as events of the stream; tests leave none."""
    events = [event for event in events if not event.message.is_test]
    if not events:
        return
    messages = [event.message for event in events]
    of_enrollments = _depths_of_enrollments(
        workspace_id, {message.enrollment_id for message in messages if message.enrollment_id}
    )
    cause_ids = {
        message.event_id
        for message in messages
        if message.event_id and message.enrollment_id not in of_enrollments
    }
    depths = _depths_after_events(workspace_id, cause_ids)
    derived_events = []
    for event in events:
        message = event.message
        # An enrollment counts on from the event that started it, and is of its level.
        depth, level = of_enrollments.get(
            message.enrollment_id, (depths.get(message.event_id, 0), EffectsLevel.ALL)
        )
        derived_events.append(
            DerivedEvent(
                event.name,
                message.contact_id,
                event.at,
                {**event_properties(message), **event.properties},
                level=EffectsLevel(level) if event.name in _OWN_EVENTS else EffectsLevel.ALL,
                cause_id=message.event_id,
                depth=depth,
            )
        )
    record_derived_events(workspace_id, derived_events, now=clock.now())


def event_properties(message: Message) -> dict[str, str]:
    """Return the properties of every event about a message."""
    campaign = {"campaignId": str(message.campaign_id)} if message.campaign_id else {}
    return {"messageId": str(message.pk), **campaign, "channel": message.channel}


# Caused by us, hence of the level of what caused the message. A click is the reader's, whatever the message
# was about.
_OWN_EVENTS: Final = (MESSAGE_SENT, MESSAGE_BOUNCED)


def _depths_of_enrollments(
    workspace_id: UUID, enrollment_ids: set[UUID]
) -> dict[UUID | None, tuple[int, int]]:
    """Return the depth and level of events that enrollments cause, by enrollment."""
    if not enrollment_ids:
        return {}
    rows = fetch_all(
        "SELECT id, depth, level FROM campaigns_enrollment WHERE workspace_id = %s AND id = ANY (%s::uuid[])",
        [workspace_id, array(enrollment_ids)],
    )
    return {enrollment_id: (depth, level) for enrollment_id, depth, level in rows}


def _depths_after_events(workspace_id: UUID, event_ids: set[UUID]) -> dict[UUID | None, int]:
    """Return the depth of events that events cause, by the causing event."""
    events = Event.objects.by_ids(workspace_id, event_ids)
    return {event_id: depth + 1 for event_id, depth in events.values_list("id", "depth")}
