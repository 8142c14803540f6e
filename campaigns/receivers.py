"""What follows for campaigns from what happens elsewhere."""

from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.dispatch import receiver

from campaigns import delivery_tasks
from campaigns.models import Message
from campaigns.models.messages import Channel
from campaigns.signals import message_reserved
from config import clock
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
def call_deliverers(message: Message, **_: Any) -> None:
    """Have a message sent once it is committed, if it may leave; the clock sees to the others."""
    if message.send_at <= clock.now():
        request = partial(wake_ups[message.channel].request, message.workspace_id)
        transaction.on_commit(request, robust=True)
