"""What the workers do for messages that leave: each task asks, and returns a word."""

from uuid import UUID

from celery import shared_task
from celery.signals import worker_process_shutdown, worker_shutdown, worker_shutting_down

from campaigns.messaging.delivery import waiting_channels
from campaigns.messaging.dispatcher import Dispatcher
from campaigns.messaging.unknown_outcomes import resolve_abandoned
from campaigns.wake_ups import delivery_wake_ups
from config import clock
from events.processing.leases import release_lease

dispatcher = Dispatcher()


@shared_task
def deliver(workspace_id: str, channel: str) -> str:
    """Have this worker's threads send what a channel has ready; the task does not wait for them."""
    release_lease(UUID(workspace_id), delivery_wake_ups[channel].lease)
    dispatcher.ask(UUID(workspace_id), channel)
    return "asked"


@shared_task
def sweep_messages() -> str:
    """Have sent what is due by now: deferred, tried in vain, or with a wake-up that was lost."""
    waiting = waiting_channels(clock.now())
    for workspace_id, channel in waiting:
        # A message that has not come by now may be lost, and no other is sent while it is waited for.
        release_lease(workspace_id, delivery_wake_ups[channel].lease)
        dispatcher.ask(workspace_id, channel)
    return "asked" if waiting else "nothing"


@shared_task
def settle_messages() -> str:
    """Settle what workers that ended have left in the middle."""
    return "done" if resolve_abandoned(clock.now()) else "nothing"


@worker_shutting_down.connect(dispatch_uid="campaigns.stop_claiming")
def stop_claiming(**_: object) -> None:
    """Begin no delivery while the worker still finishes its task."""
    dispatcher.stop_claiming()


@worker_process_shutdown.connect(dispatch_uid="campaigns.close_dispatcher_of_child")
@worker_shutdown.connect(dispatch_uid="campaigns.close_dispatcher")
def close_dispatcher(**_: object) -> None:
    """Record what is under way before the worker ends."""
    dispatcher.close()
