"""Messages that may have left or not: by the channel's policy, or by somebody who knows."""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings as django_settings
from django.db import transaction

from campaigns.channels import MaybeSent
from campaigns.errors import MessageNotFound, MessageNotUnknown
from campaigns.models import Message
from campaigns.services.delivery import Attempt, Claimed, Sent, record_attempts
from campaigns.services.permission import settings_of
from config import clock
from config.schedule import notify_beat

BATCH = 500


def settle_abandoned(now: datetime) -> int:
    """Let what a worker took and never told of be unknown, or be sent again, as the channel's policy is."""
    since = now - timedelta(seconds=django_settings.DELIVERY_CLAIM_SECONDS)
    abandoned = Message.objects.filter(status=Message.Status.SENDING, claimed_at__lt=since)
    count = 0
    for workspace_id, channel in abandoned.order_by().values_list("workspace_id", "channel").distinct():
        settings = settings_of(workspace_id, channel)
        rows = abandoned.filter(workspace_id=workspace_id, channel=channel)[:BATCH]
        lost = MaybeSent("the worker ended between sending it and noting that")
        record_attempts(workspace_id, [Attempt(Claimed(row, settings), lost, now) for row in rows])
        count += len(rows)
    return count


@transaction.atomic
def settle_message(workspace_id: UUID, message_id: UUID, *, was_sent: bool, provider_id: str = "") -> Message:
    """Say what became of an unknown message: it was sent, or it was not and is to be sent again.

    Raises MessageNotFound, MessageNotUnknown.
    """
    message = Message.objects.in_workspace(workspace_id).filter(pk=message_id).first()
    if message is None:
        raise MessageNotFound
    if message.status != Message.Status.UNKNOWN:
        raise MessageNotUnknown(message.status)
    if was_sent:
        settings = settings_of(workspace_id, message.channel)
        claimed = Claimed(message, settings)
        record_attempts(
            workspace_id, [Attempt(claimed, Sent(provider_id), message.claimed_at or clock.now())]
        )
    else:
        _send_again(message)
    message.refresh_from_db()
    return message


def _send_again(message: Message) -> None:
    unknown = Message.objects.filter(
        workspace_id=message.workspace_id, pk=message.pk, status=Message.Status.UNKNOWN
    )
    now = clock.now()
    if unknown.update(status=Message.Status.QUEUED, send_at=now):
        notify_beat("messages", now)
