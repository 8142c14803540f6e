"""The Celery app; its settings are the CELERY_ ones in config.settings."""

import os
import signal
from typing import Any

from celery import Celery
from celery.signals import task_prerun, worker_process_init, worker_ready
from django.db import close_old_connections
from kombu.transport import TRANSPORT_ALIASES

from config.memory import settle
from config.orphans import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# `manage.py check` runs them: they would load every page, in workers that serve none.
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")
# `pgmq://` is a queue in Django's own database, wherever that is.
TRANSPORT_ALIASES["pgmq"] = "config.broker:Transport"

app = Celery("headrace")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Celery would hang up after each task: the next one would pay for a new connection, on which nothing is planned yet.
app.conf["CELERY_DB_REUSE_MAX"] = TASKS_PER_CONNECTION = 1_000
app.autodiscover_tasks()


@task_prerun.connect(dispatch_uid="config.leave_broken_connections")
def leave_broken_connections(**_: Any) -> None:
    """Let go of a connection that failed in the task before: the database may have been restarted."""
    close_old_connections()


@worker_process_init.connect(dispatch_uid="config.leave_no_orphan")
def leave_no_orphan(**_: Any) -> None:
    """End with a killed worker; its message comes back to another."""
    die_with_parent(signal.SIGKILL)


@worker_process_init.connect(dispatch_uid="config.settle_child")
@worker_ready.connect(dispatch_uid="config.settle_worker")
def settle_down(**_: Any) -> None:
    """Keep the garbage collector off what stays."""
    settle()
