"""The house: settings, the clock, the wire, the database and the broker that come with it, the processes."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
