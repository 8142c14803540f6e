"""The Celery app; its settings are the CELERY_ ones in config.settings."""

import os

from celery import Celery
from kombu.transport import TRANSPORT_ALIASES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# `pgmq://` is a queue in Django's own database, wherever that is.
TRANSPORT_ALIASES["pgmq"] = "config.broker:Transport"

app = Celery("headrace")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
