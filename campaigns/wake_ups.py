"""Wake the workers that process enrollments, start campaigns and deliver messages."""

from collections.abc import Sequence
from typing import Final

from campaigns.models import Message
from campaigns.models.messages import Channel
from config import clock
from config.beat_schedule import DELIVER_DUE_MESSAGES
from config.runtime.beat_notifications import notify_beat
from events.processing.wake_ups import WakeUps

enrollment_wake_ups: Final = WakeUps("steps", "campaigns.tasks.process_enrollments")
campaign_wake_ups: Final = WakeUps("broadcasts", "campaigns.tasks.process_due_broadcasts")
delivery_wake_ups: Final = {
    channel: WakeUps(f"delivery {channel}", "campaigns.messaging.tasks.deliver", channel)
    for channel in Channel.values
}


def wake_deliveries(messages: Sequence[Message]) -> None:
    """Have messages delivered that are ready once they are committed; tell beat when the others will be."""
    now = clock.now()
    if later := [message.send_at for message in messages if message.send_at > now]:
        notify_beat(DELIVER_DUE_MESSAGES, min(later))
    ready = {(message.workspace_id, message.channel) for message in messages if message.send_at <= now}
    for workspace_id, channel in ready:
        delivery_wake_ups[channel].wake(workspace_id)
