"""Signal receivers of campaigns: wake-ups of workers, opt-ins and provider events."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from anymail.signals import AnymailTrackingEvent, tracking
from django.db import transaction
from django.dispatch import receiver

from campaigns import tasks
from campaigns.messaging import tasks as delivery_tasks
from campaigns.messaging.channels.providers import classify, message_id_of
from campaigns.messaging.provider_reports import Report, record_report
from campaigns.messaging.release import release
from campaigns.models import Message
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.signals import campaign_work_due, enrollments_due, message_reserved
from config import clock
from config.db.errors import storable_text
from config.ids import parse_uuid
from config.runtime.schedule import notify_beat
from contacts.identity.lookup import ids_of
from contacts.models import Consent
from contacts.signals import ContactChange, contacts_changed
from events.processing.leases import MESSAGE_SECONDS
from events.processing.wake_ups import WakeUps


def publish_delivery(channel: str, workspace_id: UUID) -> None:
    """Send the wake-up for a channel to the broker. Raises whatever its client raises."""
    arguments = (str(workspace_id), channel)
    delivery_tasks.deliver.apply_async(args=arguments, expires=MESSAGE_SECONDS, retry=False)


def _wake_ups_for(channel: str) -> WakeUps:
    return WakeUps(
        delivery_tasks.delivery_of(channel), lambda workspace_id: publish_delivery(channel, workspace_id)
    )


wake_ups = {channel: _wake_ups_for(channel) for channel in Channel.values}


@receiver(message_reserved, dispatch_uid="campaigns.publish_delivery_tasks")
def publish_delivery_tasks(messages: Sequence[Message], **_: Any) -> None:
    """Have messages sent once they are committed, those that may leave; beat sees to the others."""
    now = clock.now()
    if later := [one.send_at for one in messages if one.send_at > now]:
        notify_beat("messages", min(later))
    for workspace_id, channel in {(one.workspace_id, one.channel) for one in messages if one.send_at <= now}:
        transaction.on_commit(partial(wake_ups[channel].request, workspace_id), robust=True)


def publish_enrollment_wakeup(workspace_id: UUID) -> None:
    """Send the wake-up for due enrollments to the broker. Raises whatever its client raises."""
    tasks.process_enrollments.apply_async(args=(str(workspace_id),), expires=MESSAGE_SECONDS, retry=False)


def publish_campaign_wakeup(workspace_id: UUID) -> None:
    """Send the wake-up for broadcasts and dates to the broker. Raises whatever its client raises."""
    tasks.start_due_campaigns.apply_async(args=(str(workspace_id),), expires=MESSAGE_SECONDS, retry=False)


enrollment_wake_ups = WakeUps(
    tasks.ENROLLMENT_LEASE, lambda workspace_id: publish_enrollment_wakeup(workspace_id)
)
campaign_wake_ups = WakeUps(
    tasks.CAMPAIGN_START_LEASE, lambda workspace_id: publish_campaign_wakeup(workspace_id)
)


@receiver(enrollments_due, dispatch_uid="campaigns.wake_enrollment_worker")
def wake_enrollment_worker(workspace_id: UUID, **_: Any) -> None:
    """Have due enrollments taken on once what made them so is committed; the clock comes if no message does."""
    transaction.on_commit(partial(enrollment_wake_ups.request, workspace_id), robust=True)


@receiver(campaign_work_due, dispatch_uid="campaigns.wake_campaign_worker")
def wake_campaign_worker(workspace_id: UUID, **_: Any) -> None:
    """Have broadcasts and dates begun after the commit; the sweep comes if no message does."""
    transaction.on_commit(partial(campaign_wake_ups.request, workspace_id), robust=True)


@receiver(contacts_changed, dispatch_uid="campaigns.release_messages")
def release_messages(workspace_id: UUID, changes: Sequence[ContactChange], **_: Any) -> None:
    """Let go what was stopped since a person had opted out, or not said yes, who wants it now."""
    new = {change.contact_id for change in changes if change.kind == "created"}
    for change in changes:
        if change.kind == "subscribed" and change.contact_id not in new:
            had_left = change.old.get("status") == Consent.Status.OPTED_OUT
            reason = Reason.OPTED_OUT if had_left else Reason.NO_CONSENT
            ids = ids_of(workspace_id, change.contact_id)
            release(workspace_id, change.new["channel"], reason, contact_ids=ids)


@receiver(tracking, dispatch_uid="campaigns.record_provider_event")
def record_provider_event(event: AnymailTrackingEvent, esp_name: str = "", **_: Any) -> None:
    """Act on what a provider reports of an e-mail that it took."""
    told = [storable_text(one) for one in (event.mta_response, event.description) if one]
    metadata = event.metadata if isinstance(event.metadata, Mapping) else {}
    provider_id = storable_text(event.message_id or "")
    report = Report(
        kind=event.event_type or "",
        at=_moment(event.timestamp),
        message_id=parse_uuid(metadata.get("message_id"))
        or message_id_of(esp_name, event.esp_event, provider_id),
        provider_id=provider_id,
        reason=event.reject_reason or "",
        words=next(iter(told), ""),
        bounce=classify(esp_name, event.esp_event, " ".join(told)),
    )
    record_report(report)


def _moment(told: datetime | None) -> datetime:
    """Return when something happened, as a provider says; never later than now."""
    now = clock.now()
    if told is None:
        return now
    return min(told.replace(tzinfo=UTC) if told.tzinfo is None else told, now)
