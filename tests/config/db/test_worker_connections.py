"""A worker's connection to the database lives as long as it is good for something."""

import psycopg
import pytest
from celery.fixups.django import DjangoWorkerFixup
from django.db import OperationalError, connection

from config.celery import app, close_broken_connections

pytestmark = pytest.mark.django_db(transaction=True)


def backend():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def test_tasks_share_a_connection():
    before = backend()
    fixup = DjangoWorkerFixup(app)
    for _ in range(3):
        close_broken_connections()
        fixup.close_database()  # as before each task, and after it
        fixup.close_database()
    assert backend() == before


def test_a_task_after_one_whose_connection_broke_has_another():
    before = backend()
    parameters = connection.get_connection_params()
    usable = {
        name: parameters[name]
        for name in ("dbname", "host", "port", "user", "password")
        if name in parameters
    }
    with psycopg.connect(**usable, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [before])
    with pytest.raises(OperationalError):
        backend()

    close_broken_connections()

    assert backend() != before
