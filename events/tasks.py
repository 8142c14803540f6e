"""Celery tasks of events: each calls one service and returns a word."""

from uuid import UUID

from celery import shared_task
from celery.signals import worker_process_shutdown, worker_shutdown, worker_shutting_down

from config.db.backfill import for_each
from events.processing import passes
from events.processing.heartbeat import record_heartbeat
from events.processing.worker import Runner, wake_ups
from events.stream.idempotency import purge_old_keys
from events.stream.partitions import make_partitions as make_partitions_ahead
from events.stream.quarantine import purge_old_refusals

runner = Runner(wake_ups.publish)


@shared_task
def apply_effects(workspace_id: str) -> str:
    """Apply the effects of a workspace, and go on polling it while events come."""
    return runner.answer(UUID(workspace_id))


@shared_task
def apply_overlooked_effects() -> str:
    """Apply effects whose wake-up was lost, as by a killed process or a broken broker."""
    waiting = passes.workspaces_with_open_batches()
    for_each(waiting, runner.sweep)
    return "done" if waiting else "nothing"


@shared_task
def process_due_timers() -> str:
    """Process due timers: windows, offsets and decay."""
    waiting = passes.workspaces_with_due_timers()
    for_each(waiting, runner.sweep)
    return "done" if waiting else "nothing"


@worker_shutting_down.connect(dispatch_uid="events.stop_runner")
def stop_runner(**_: object) -> None:
    """Hand workspaces over while the worker finishes its task."""
    runner.stop()


@worker_process_shutdown.connect(dispatch_uid="events.close_runner_of_child")
@worker_shutdown.connect(dispatch_uid="events.close_runner")
def close_runner(**_: object) -> None:
    """Wait for the pass under way before the worker ends."""
    runner.close()


@shared_task
def make_partitions() -> str:
    """Create the stream's partitions a year ahead."""
    make_partitions_ahead()
    return "done"


@shared_task
def purge_idempotency_keys() -> str:
    """Delete expired Idempotency-Keys."""
    return "done" if purge_old_keys() else "nothing"


@shared_task
def purge_refused_events() -> str:
    """Delete refused events that nobody replayed in time."""
    return "done" if purge_old_refusals() else "nothing"


@shared_task
def record_worker_heartbeat() -> str:
    """Record the heartbeat."""
    record_heartbeat()
    return "done"
