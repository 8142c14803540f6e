"""The same job done the plain way: Django's defaults on the same database, broker and web server."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.plain"]
ROOT_URLCONF = "benchmarks.plain.urls"
REST_FRAMEWORK: dict[str, object] = {}
CELERY_TASK_DEFAULT_QUEUE = "plain"
CELERY_BEAT_SCHEDULE: dict[str, object] = {}
