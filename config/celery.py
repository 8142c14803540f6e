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

from config.database.work import use_in_process
from config.entry import require_settings
from config.memory import settle
from config.metrics.figures import count_task
from config.orphans import die_with_parent
from config.request_ids import request_id

# `manage.py check` runs them: they would load every page, in workers that serve none.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")
# `pgmq://` is a queue in Django's own database, wherever that is.
TRANSPORT_ALIASES["pgmq"] = "config.broker:Transport"

app = Celery("headrace")
app.config_from_object("django.conf:settings", namespace="CELERY")
require_settings()
# Celery would hang up after each task: the next one would pay for a new connection, on which nothing is planned yet.
app.conf["CELERY_DB_REUSE_MAX"] = TASKS_PER_CONNECTION = 1_000
app.autodiscover_tasks()


@celeryd_init.connect(dispatch_uid="config.work_in_background")
def work_in_background(**_: Any) -> None:
    """Bound what a worker asks of the database as background work."""
    use_in_process("background")


@task_prerun.connect(dispatch_uid="config.leave_broken_connections")
def leave_broken_connections(**_: Any) -> None:
    """Let go of a connection that failed in the task before: the database may have been restarted."""
    close_old_connections()


@task_prerun.connect(dispatch_uid="config.begin_task")
def begin_task(task: Any, **_: Any) -> None:
    """Note when a task begins, and the request that it follows from."""
    task.request.begun_at = perf_counter()
    request_id.set(task.request.get("request_id") or "")


@task_postrun.connect(dispatch_uid="config.count_task")
def count_ended_task(task: Any, state: str | None = None, **_: Any) -> None:
    """Count a task that ended."""
    began = getattr(task.request, "begun_at", None)
    if began is not None:
        count_task(task.name, (state or "unknown").lower(), perf_counter() - began)
    request_id.set("")


@before_task_publish.connect(dispatch_uid="config.tell_request")
def tell_request(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """Let a task know the request that it follows from."""
    if headers is not None and (follows_from := request_id.get()):
        headers["request_id"] = follows_from


@setup_logging.connect(dispatch_uid="config.leave_logging")
def leave_logging(**_: Any) -> None:
    """Have Celery log as everything else does; it asks whether anybody else sees to that."""


@worker_process_init.connect(dispatch_uid="config.leave_no_orphan")
def leave_no_orphan(**_: Any) -> None:
    """End with a killed worker; its message comes back to another."""
    die_with_parent(signal.SIGKILL)


@worker_process_init.connect(dispatch_uid="config.settle_child")
@worker_ready.connect(dispatch_uid="config.settle_worker")
def settle_down(**_: Any) -> None:
    """Keep the garbage collector off what stays."""
    settle()
