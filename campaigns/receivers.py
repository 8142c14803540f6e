"""What follows for campaigns from what happens elsewhere."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any
from uuid import UUID

from anymail.signals import AnymailTrackingEvent, tracking
from django.db import transaction
from django.dispatch import receiver

from campaigns import delivery_tasks, tasks
from campaigns.channels.providers import classify, message_id_of
from campaigns.models import Message
from campaigns.models.messages import Channel
from campaigns.reasons import Reason
from campaigns.services.bounces import Report, record_report
from campaigns.services.freeing import release
from campaigns.signals import campaign_waits, message_reserved, runs_wait
from config import clock
from config.ids import parse_uuid
from config.schedule import notify_beat
from contacts.models import Consent
from contacts.services import ids_of
from contacts.signals import ContactChange, contacts_changed
from events.services.leases import MESSAGE_SECONDS
from events.wakeups import WakeUps


def publish_delivery(channel: str, workspace_id: UUID) -> None:
    """Send the wake-up for a channel to the broker. Raises whatever its client raises."""
    arguments = (str(workspace_id), channel)
    delivery_tasks.deliver.apply_async(args=arguments, expires=MESSAGE_SECONDS, retry=False)


def _wake_ups_for(channel: str) -> WakeUps:
    return WakeUps(
        delivery_tasks.delivery_of(channel), lambda workspace_id: publish_delivery(channel, workspace_id)
    )


wake_ups = {channel: _wake_ups_for(channel) for channel in Channel.values}


@receiver(message_reserved, dispatch_uid="campaigns.call_deliverers")
def call_deliverers(messages: Sequence[Message], **_: Any) -> None:
    """Have messages sent once they are committed, those that may leave; beat sees to the others."""
    now = clock.now()
    if later := [one.send_at for one in messages if one.send_at > now]:
        notify_beat("messages", min(later))
    for workspace_id, channel in {(one.workspace_id, one.channel) for one in messages if one.send_at <= now}:
        transaction.on_commit(partial(wake_ups[channel].request, workspace_id), robust=True)


def publish_steps(workspace_id: UUID) -> None:
    """Send the wake-up for due runs to the broker. Raises whatever its client raises."""
    tasks.run_steps.apply_async(args=(str(workspace_id),), expires=MESSAGE_SECONDS, retry=False)


def publish_beginning(workspace_id: UUID) -> None:
    """Send the wake-up for broadcasts and dates to the broker. Raises whatever its client raises."""
    tasks.begin_campaigns.apply_async(args=(str(workspace_id),), expires=MESSAGE_SECONDS, retry=False)


step_wake_ups = WakeUps(tasks.STEPS, lambda workspace_id: publish_steps(workspace_id))
beginning_wake_ups = WakeUps(tasks.BEGINNING, lambda workspace_id: publish_beginning(workspace_id))


@receiver(runs_wait, dispatch_uid="campaigns.call_steppers")
def call_steppers(workspace_id: UUID, **_: Any) -> None:
    """Have due runs taken on once what made them so is committed; the clock comes if no message does."""
    transaction.on_commit(partial(step_wake_ups.request, workspace_id), robust=True)


@receiver(campaign_waits, dispatch_uid="campaigns.call_beginners")
def call_beginners(workspace_id: UUID, **_: Any) -> None:
    """Have broadcasts and dates begun after the commit; the sweep comes if no message does."""
    transaction.on_commit(partial(beginning_wake_ups.request, workspace_id), robust=True)


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


@receiver(tracking, dispatch_uid="campaigns.hear_provider")
def hear_provider(event: AnymailTrackingEvent, esp_name: str = "", **_: Any) -> None:
    """Act on what a provider reports of an e-mail that it took."""
    told = [_text(one) for one in (event.mta_response, event.description) if one]
    metadata = event.metadata if isinstance(event.metadata, Mapping) else {}
    provider_id = _text(event.message_id or "")
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


def _text(value: object) -> str:
    """Return what a row can have of a value, whatever it is."""
    return str(value).replace("\x00", "").encode(errors="replace").decode()


def _moment(told: datetime | None) -> datetime:
    """Return when something happened, as a provider says; never later than now."""
    now = clock.now()
    if told is None:
        return now
    return min(told.replace(tzinfo=UTC) if told.tzinfo is None else told, now)
