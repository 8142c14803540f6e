"""The Celery app; its settings are the CELERY_ ones in config.settings."""

import os
import signal
from typing import Any

from celery import Celery
from celery.signals import worker_process_init, worker_ready
from kombu.transport import TRANSPORT_ALIASES

from config.memory import settle
from config.orphans import die_with_parent

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# `pgmq://` is a queue in Django's own database, wherever that is.
TRANSPORT_ALIASES["pgmq"] = "config.broker:Transport"

app = Celery("headrace")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_process_init.connect(dispatch_uid="config.leave_no_orphan")
def leave_no_orphan(**_: Any) -> None:
    """End with a killed worker; its message comes back to another."""
    die_with_parent(signal.SIGKILL)


@worker_process_init.connect(dispatch_uid="config.settle_child")
@worker_ready.connect(dispatch_uid="config.settle_worker")
def settle_down(**_: Any) -> None:
    """Keep the garbage collector off what stays."""
    settle()
