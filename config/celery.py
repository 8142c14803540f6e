"""The Celery app; its settings are the CELERY_ ones in config.settings."""

import os
import signal
from time import perf_counter
from typing import Any

from celery import Celery
from celery.signals import (
    before_task_publish,
    celeryd_after_setup,
    celeryd_init,
    setup_logging,
    task_postrun,
    task_prerun,
    worker_process_init,
    worker_ready,
)
from django.conf import settings
from django.db import close_old_connections
from kombu.transport import TRANSPORT_ALIASES

from config.db.workloads import use_in_process
from config.observability.metrics.counters import count_task
from config.observability.request_ids import request_id
from config.runtime.child_processes import exit_with_parent
from config.runtime.garbage_collection import freeze_loaded_objects
from config.runtime.layouts import require_layout
from config.runtime.startup_errors import require_settings

# System checks would load every page; `manage.py check` runs them.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")
# `pgmq://` is a queue in Django's database.
TRANSPORT_ALIASES["pgmq"] = "config.runtime.broker:Transport"

app = Celery("headrace")
app.config_from_object("django.conf:settings", namespace="CELERY")
require_settings()
# By default Celery closes the connection after each task, and its prepared statements with it.
app.conf["CELERY_DB_REUSE_MAX"] = 1_000
app.autodiscover_tasks()


@celeryd_init.connect(dispatch_uid="config.work_in_background")
def work_in_background(**_: Any) -> None:
    """Give a worker's connections the time limits of background work."""
    use_in_process("background")


@celeryd_init.connect(dispatch_uid="config.refuse_another_layout")
def refuse_another_layout(**_: Any) -> None:
    """Exit where the database is of another layout."""
    require_layout()


@celeryd_after_setup.connect(dispatch_uid="config.take_ordinary_work")
def take_ordinary_work(instance: Any, **_: Any) -> None:
    """Without --queues, take from the default queue alone; Celery would add a queue that it once published to."""
    queues = instance.app.amqp.queues
    if settings.LONG_WORK_QUEUE not in queues.consume_from:
        queues.select([instance.app.conf.task_default_queue])


@task_prerun.connect(dispatch_uid="config.close_broken_connections")
def close_broken_connections(**_: Any) -> None:
    """Close a connection that failed in the task before: the database may have restarted."""
    close_old_connections()


@task_prerun.connect(dispatch_uid="config.begin_task")
def begin_task(task: Any, **_: Any) -> None:
    """Record a task's start and its request id."""
    task.request.begun_at = perf_counter()
    request_id.set(task.request.get("request_id") or "")


@task_postrun.connect(dispatch_uid="config.count_task")
def count_finished_task(task: Any, state: str | None = None, **_: Any) -> None:
    """Count a finished task."""
    began = getattr(task.request, "begun_at", None)
    if began is not None:
        count_task(task.name, (state or "unknown").lower(), perf_counter() - began)
    request_id.set("")


@before_task_publish.connect(dispatch_uid="config.log_task_request")
def log_task_request(headers: dict[str, Any] | None = None, **_: Any) -> None:
    """Pass the request id on to a task that is published."""
    if headers is not None and (follows_from := request_id.get()):
        headers["request_id"] = follows_from


@setup_logging.connect(dispatch_uid="config.keep_logging")
def keep_logging(**_: Any) -> None:
    """Keep Django's logging: with a receiver of this signal Celery configures none."""


@worker_process_init.connect(dispatch_uid="config.exit_worker_with_parent")
def exit_worker_with_parent(**_: Any) -> None:
    """Exit when the worker's parent is killed; the message is delivered to another worker."""
    exit_with_parent(signal.SIGKILL)


@worker_process_init.connect(dispatch_uid="config.settle_child")
@worker_ready.connect(dispatch_uid="config.settle_worker")
def freeze_memory_at_start(**_: Any) -> None:
    """Exempt loaded code from garbage collection."""
    freeze_loaded_objects()
