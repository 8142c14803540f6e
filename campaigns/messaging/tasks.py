"""Celery tasks of delivery."""

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
    """Have the dispatcher of this worker send a channel's due messages; does not wait for it."""
    release_lease(UUID(workspace_id), delivery_wake_ups[channel].lease)
    dispatcher.dispatch(UUID(workspace_id), channel)
    return "dispatched"


@shared_task
def deliver_all_due_messages() -> str:
    """Send messages that became due: deferred ones, retries, and those whose wake-up was lost."""
    waiting = waiting_channels(clock.now())
    for workspace_id, channel in waiting:
        # The task that holds the lease may be lost, and no other is sent while the lease holds.
        release_lease(workspace_id, delivery_wake_ups[channel].lease)
        dispatcher.dispatch(workspace_id, channel)
    return "dispatched" if waiting else "nothing"


@shared_task
def resolve_abandoned_messages() -> str:
    """Resolve messages that a worker claimed and never recorded."""
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
