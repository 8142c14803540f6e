"""Release held messages: wake deferred ones, requeue cancelled ones, once their reason is lifted."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Least

from campaigns.messaging.cancellation import CANCELLING
from campaigns.models import Enrollment, Message
from campaigns.reasons import Reason
from campaigns.wake_ups import wake_deliveries
from config import clock
from config.db.lookups import any_of
from config.ids import first_id_at

STOPPED_AT_MOST: Final = timedelta(hours=72)
"""How old a cancelled message may be to be requeued."""


def wake_held_messages(
    workspace_id: UUID, channel: str, *, contact_ids: Collection[UUID] | None = None
) -> int:
    """Decide anew on messages deferred by a cap or quiet hours. Returns how many are queued.

    What waits for another attempt after a failure goes on waiting.
    """
    now = clock.now()
    queued = Message.objects.in_workspace(workspace_id).filter(
        channel=channel, status=Message.Status.QUEUED, attempts=0
    )
    if contact_ids is not None:
        queued = queued.filter(any_of("contact_id", contact_ids))
    # Those that may leave now, too: who is checking one by what held until now is waited for, and overruled.
    count = queued.update(send_at=Least(F("send_at"), now))
    _wake_deliveries(workspace_id, channel, count)
    return count


@transaction.atomic
def release(
    workspace_id: UUID,
    channel: str,
    *reasons: Reason,
    address: str = "",
    contact_ids: Collection[UUID] = (),
) -> int:
    """Requeue messages that were cancelled for one of these reasons. Returns how many.

    Those to an address and those to some contacts; neither: all of the channel.
    Where their enrollment has ended by a goal or the like meanwhile, they stay as they are.
    """
    now = clock.now()
    messages = Message.objects.in_workspace(workspace_id).filter(
        channel=channel, id__gte=first_id_at(now - STOPPED_AT_MOST)
    )
    if address or contact_ids:
        messages = messages.filter(Q(any_of("contact_id", contact_ids)) | Q(address=address))
    # The queued ones too: who is about to stop message is waited for.
    waiting = messages.filter(status__in=[Message.Status.QUEUED, Message.Status.CANCELLED])
    stopped = [
        message
        for message in waiting.order_by("id")
        .select_for_update()
        .only("id", "status", "error", "enrollment_id")
        if message.status == Message.Status.CANCELLED and message.error in reasons
    ]
    ended = set(
        Enrollment.objects.in_workspace(workspace_id)
        .filter(
            any_of("id", {message.enrollment_id for message in stopped if message.enrollment_id}),
            any_of("end_reason", CANCELLING),
        )
        .values_list("id", flat=True)
    )
    ids = [message.pk for message in stopped if message.enrollment_id not in ended]
    to_release = Message.objects.in_workspace(workspace_id).filter(any_of("id", ids))
    count = to_release.update(status=Message.Status.QUEUED, error="", send_at=now)
    _wake_deliveries(workspace_id, channel, count)
    return count


def _wake_deliveries(workspace_id: UUID, channel: str, count: int) -> None:
    if count:
        ready = Message(workspace_id=workspace_id, channel=channel, send_at=clock.now())
        wake_deliveries([ready])
