"""The Celery app; its settings are the CELERY_ ones in config.settings."""

import os
import signal
from time import perf_counter
from typing import Any

from celery import Celery
from celery.signals import (
    before_task_publish,
    celeryd_init,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_ready,
)
from django.db import close_old_connections
from kombu.transport import TRANSPORT_ALIASES

from config.db.workloads import use_in_process
from config.observability.metrics.counters import count_task
from config.observability.request_ids import request_id
from config.runtime.child_processes import exit_with_parent
from config.runtime.garbage_collection import freeze_loaded_objects
from config.runtime.layouts import require_layout
from config.runtime.startup_errors import require_settings

# `manage.py check` runs them: they would load every page, in workers that serve none.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")
# `pgmq://` is a queue in Django's own database, wherever that is.
TRANSPORT_ALIASES["pgmq"] = "config.runtime.broker:Transport"

app = Celery("headrace")
app.config_from_object("django.conf:settings", namespace="CELERY")
require_settings()
# Celery would hang up after each task: the next one would pay for a new connection, on which nothing is
# planned yet.
app.conf["CELERY_DB_REUSE_MAX"] = TASKS_PER_CONNECTION = 1_000
app.autodiscover_tasks()


@celeryd_init.connect(dispatch_uid="config.work_in_background")
def work_in_background(**_: Any) -> None:
    """Bound what a worker asks of the database as background work."""
    use_in_process("background")


@celeryd_init.connect(dispatch_uid="config.refuse_another_layout")
def refuse_another_layout(**_: Any) -> None:
    """End a worker that would work on tables that are not what its code expects."""
    require_layout()


@task_prerun.connect(dispatch_uid="config.close_broken_connections")
def close_broken_connections(**_: Any) -> None:
    """Let go of a connection that failed in the task before: the database may have been restarted."""
    close_old_connections()


@task_prerun.connect(dispatch_uid="config.begin_task")
def begin_task(task: Any, **_: Any) -> None:
    """Note when a task begins, and the request that it follows from."""
    task.request.begun_at = perf_counter()
    request_id.set(task.request.get("request_id") or "")


@task_postrun.connect(dispatch_uid="config.count_task")
def count_finished_task(task: Any, state: str | None = None, **_: Any) -> None:
    """Count a task that ended."""
    began = getattr(task.request, "begun_at", None)
    if began is not None:
        count_task(task.name, (state or "unknown").lower(), perf_counter() - began)
    request_id.set("")


@before_task_publish.connect(dispatch_uid="config.log_task_request")
def log_task_request(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """Let a task know the request that it follows from."""
    if headers is not None and (follows_from := request_id.get()):
        headers["request_id"] = follows_from


@setup_logging.connect(dispatch_uid="config.keep_logging")
def keep_logging(**_: Any) -> None:
    """Have Celery log as everything else does; it asks whether anybody else sees to that."""


@worker_process_init.connect(dispatch_uid="config.exit_worker_with_parent")
def exit_worker_with_parent(**_: Any) -> None:
    """End with a killed worker; its message comes back to another."""
    exit_with_parent(signal.SIGKILL)


@worker_process_init.connect(dispatch_uid="config.settle_child")
@worker_ready.connect(dispatch_uid="config.settle_worker")
def freeze_memory_at_start(**_: Any) -> None:
    """Keep the garbage collector off what stays."""
    freeze_loaded_objects()
