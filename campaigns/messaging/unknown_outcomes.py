"""Resolve messages that may have left or not: by the channel's `on_unknown`, or by hand."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings as django_settings
from django.db import transaction

from campaigns.errors import MessageNotFound, MessageNotUnknown
from campaigns.messaging.channels import MaybeSent
from campaigns.messaging.delivery import Attempt, Claimed, Sent, record_attempts
from campaigns.messaging.policy import settings_of
from campaigns.models import Decision, Message, NewDecision
from campaigns.reasons import Reason
from config import clock
from config.beat_schedule import DELIVER_DUE_MESSAGES
from config.runtime.beat_notifications import notify_beat

BATCH = 500


def resolve_abandoned(now: datetime) -> int:
    """Resolve messages claimed long ago and never recorded: unknown, or sent again, by `on_unknown`.
    Returns how many.
    """
    since = now - timedelta(seconds=django_settings.DELIVERY_CLAIM_SECONDS)
    abandoned = Message.objects.filter(status=Message.Status.SENDING, claimed_at__lt=since)
    count = 0
    for workspace_id, channel in abandoned.order_by().values_list("workspace_id", "channel").distinct():
        settings = settings_of(workspace_id, channel)
        rows = abandoned.in_workspace(workspace_id).filter(channel=channel)[:BATCH]
        lost = MaybeSent("the worker ended between sending it and noting that")
        record_attempts(workspace_id, [Attempt(Claimed(row, settings), lost, now) for row in rows])
        count += len(rows)
    return count


@transaction.atomic
def resolve_message(
    workspace_id: UUID, message_id: UUID, *, was_sent: bool, provider_id: str = ""
) -> Message:
    """Resolve an unknown message: it was sent, or it was not and is sent again.

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


def hold_unsent_messages(workspace_id: UUID, *, is_dry: bool = False) -> int:
    """Hold every unsent message as unknown, after a backup was restored: it may have left since then.

    Nothing may be delivering meanwhile (DELIVERY_PAUSED). Returns how many there were; `is_dry` changes nothing.
    """
    if is_dry:
        return Message.objects.in_workspace(workspace_id).filter(status__in=_UNSENT).count()
    count = 0
    while held := _hold_batch(workspace_id):
        count += held
    return count


def resolve_unknown(
    workspace_id: UUID, *, was_sent: bool, channel: str | None = None, is_dry: bool = False
) -> int:
    """Resolve all unknown messages of a channel, or of all, alike: sent, or to be sent again.

    Returns how many there were; `is_dry` changes nothing.
    """
    unknown = Message.objects.in_workspace(workspace_id).filter(status=Message.Status.UNKNOWN)
    if channel is not None:
        unknown = unknown.filter(channel=channel)
    if is_dry:
        return unknown.count()
    count = 0
    for message_id in list(unknown.order_by("id").values_list("pk", flat=True)):
        with suppress(MessageNotFound, MessageNotUnknown):  # somebody else has, meanwhile
            resolve_message(workspace_id, message_id, was_sent=was_sent)
            count += 1
    return count


@transaction.atomic
def _hold_batch(workspace_id: UUID) -> int:
    waiting = Message.objects.in_workspace(workspace_id).filter(status__in=_UNSENT)
    messages = list(waiting.select_for_update().order_by("id")[:BATCH])
    Message.objects.in_workspace(workspace_id).filter(pk__in=[message.pk for message in messages]).update(
        status=Message.Status.UNKNOWN, error=_RESTORED
    )
    now, detail = clock.now(), {"message": _RESTORED}
    kind, reason = Decision.Kind.NOT_SENT, Reason.UNKNOWN
    decisions = [NewDecision.about(message, kind, reason, now, detail) for message in messages]
    Decision.objects.record(workspace_id, decisions)
    return len(messages)


_UNSENT: Final = (Message.Status.QUEUED, Message.Status.SENDING)
_RESTORED: Final = "a backup was restored: it may have left since then"


def _send_again(message: Message) -> None:
    unknown = Message.objects.in_workspace(message.workspace_id).filter(
        pk=message.pk, status=Message.Status.UNKNOWN
    )
    now = clock.now()
    if unknown.update(status=Message.Status.QUEUED, send_at=now):
        notify_beat(DELIVER_DUE_MESSAGES, now)
