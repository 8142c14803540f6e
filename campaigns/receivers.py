"""What follows for campaigns from what happens elsewhere."""

from collections.abc import Sequence
from functools import partial
from typing import Any
from uuid import UUID

from anymail.signals import AnymailTrackingEvent, tracking
from django.db import transaction
from django.dispatch import receiver

from campaigns import delivery_tasks, tasks
from campaigns.models import Message
from campaigns.models.messages import Channel
from campaigns.services.bounces import Report, record_report
from campaigns.signals import campaign_waits, message_reserved, runs_wait
from config import clock
from config.ids import parse_uuid
from events.wakeups import WakeUps

WAKE_UP_SECONDS = 60
"""A wake-up that no worker took by then is stale: the sweep has done its work."""


def publish_delivery(channel: str, workspace_id: UUID) -> None:
    """Send the wake-up for a channel to the broker. Raises whatever its client raises."""
    arguments = (str(workspace_id), channel)
    delivery_tasks.deliver.apply_async(args=arguments, expires=WAKE_UP_SECONDS, retry=False)


def _wake_ups_for(channel: str) -> WakeUps:
    return WakeUps(lambda workspace_id: publish_delivery(channel, workspace_id))


wake_ups = {channel: _wake_ups_for(channel) for channel in Channel.values}


@receiver(message_reserved, dispatch_uid="campaigns.call_deliverers")
def call_deliverers(messages: Sequence[Message], **_: Any) -> None:
    """Have messages sent once they are committed, those that may leave; the clock sees to the others."""
    now = clock.now()
    for workspace_id, channel in {(one.workspace_id, one.channel) for one in messages if one.send_at <= now}:
        transaction.on_commit(partial(wake_ups[channel].request, workspace_id), robust=True)


def publish_steps(workspace_id: UUID) -> None:
    """Send the wake-up for due runs to the broker. Raises whatever its client raises."""
    tasks.run_steps.apply_async(args=(str(workspace_id),), expires=WAKE_UP_SECONDS, retry=False)


def publish_beginning(workspace_id: UUID) -> None:
    """Send the wake-up for broadcasts and dates to the broker. Raises whatever its client raises."""
    tasks.begin_campaigns.apply_async(expires=WAKE_UP_SECONDS, retry=False)


step_wake_ups = WakeUps(lambda workspace_id: publish_steps(workspace_id))
beginning_wake_ups = WakeUps(lambda workspace_id: publish_beginning(workspace_id))


@receiver(runs_wait, dispatch_uid="campaigns.call_steppers")
def call_steppers(workspace_id: UUID, **_: Any) -> None:
    """Have due runs taken on once what made them so is committed; the clock comes if no message does."""
    transaction.on_commit(partial(step_wake_ups.request, workspace_id), robust=True)


@receiver(campaign_waits, dispatch_uid="campaigns.call_beginners")
def call_beginners(workspace_id: UUID, **_: Any) -> None:
    """Have broadcasts and dates begun after the commit; the sweep comes if no message does."""
    transaction.on_commit(partial(beginning_wake_ups.request, workspace_id), robust=True)


@receiver(tracking, dispatch_uid="campaigns.hear_provider")
def hear_provider(event: AnymailTrackingEvent, **_: Any) -> None:
    """Act on what a provider reports of an e-mail that it took."""
    words = event.mta_response or event.description or ""
    report = Report(
        kind=event.event_type or "",
        at=min(event.timestamp or clock.now(), clock.now()),
        message_id=parse_uuid((event.metadata or {}).get("message_id")),
        provider_id=event.message_id or "",
        reason=event.reject_reason or "",
        words=words,
    )
    record_report(report)
