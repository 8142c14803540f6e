"""The same job done the plain way: Django's defaults on the same database, broker and web server."""

from config.settings import *  # noqa: F403
from config.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.plain"]
# What `startproject` writes: ours is about pages that are not here.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "benchmarks.plain.urls"
REST_FRAMEWORK: dict[str, object] = {}
CELERY_TASK_DEFAULT_QUEUE = "plain"
CELERY_BEAT_SCHEDULE: dict[str, object] = {}
