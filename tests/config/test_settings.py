"""What the addresses in the environment make of the settings."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from psycopg.conninfo import conninfo_to_dict

ROOT = Path(__file__).resolve().parents[2]
SHOW = """
import json
from config import settings
from config.celery import app
print(json.dumps({"database": settings.DATABASES["default"], "pool": app.conf.worker_pool,
    "queue": app.conf.task_default_queue, "options": app.conf.broker_transport_options}))
"""
REACH = "import config.celery; from config.runtime.broker import django_conninfo; print(django_conninfo(), end='')"


def test_what_the_database_address_says_of_the_connection_stands() -> None:
    address = "postgres://ada:pw@db.example/events?sslmode=verify-full&options=-c%20search_path%3Dheadrace"
    options = shown(DATABASE_URL=address)["database"]["OPTIONS"]
    assert options["sslmode"] == "verify-full"
    assert options["options"] == "-c search_path=headrace"
    assert options["server_side_binding"] is True


def test_a_database_other_than_postgresql_is_refused() -> None:
    done = run(SHOW, DATABASE_URL="mysql://ada:pw@db.example/events")
    assert done.returncode != 0
    assert "must be the address of a PostgreSQL" in done.stderr
    assert "db.example" not in done.stderr


def test_a_sender_that_is_no_mailbox_is_refused_and_an_international_one_is_as_dns_has_it() -> None:
    done = run(SHOW, DEFAULT_FROM_EMAIL="Acme: News <news@acme.test>")
    assert done.returncode != 0
    assert "DEFAULT_FROM_EMAIL: A name with" in done.stderr
    show = "from config import settings as s; print(s.DEFAULT_FROM_EMAIL, s.BOUNCE_ADDRESS)"
    done = run(show, DEFAULT_FROM_EMAIL="News <news@straße.test>", BOUNCE_ADDRESS="b@straße.test")
    assert done.stdout.strip() == "News <news@xn--strae-oqa.test> b@xn--strae-oqa.test"


def test_only_over_pgmq_is_a_pool_of_children_ruled_out() -> None:
    assert shown(CELERY_BROKER_URL="pgmq://localhost")["pool"] == "solo"
    assert shown(CELERY_BROKER_URL="redis://broker.example/0")["pool"] == "prefork"
    assert shown(CELERY_BROKER_URL="amqp://broker.example//")["pool"] == "prefork"


def test_installations_that_share_a_redis_share_no_key() -> None:
    of_one = shown(CELERY_BROKER_URL="rediss://broker.example/0", BROKER_QUEUE="one")
    assert of_one["queue"] == "one"
    assert of_one["options"]["global_keyprefix"] == "one:"


def test_the_queue_in_the_database_is_reached_as_the_database_is() -> None:
    address = "postgres://ada:pw@db.example/events?sslmode=verify-full&options=-c%20search_path%3Dheadrace"
    done = run(REACH, DATABASE_URL=address)
    assert done.returncode == 0, done.stderr
    reached = conninfo_to_dict(done.stdout)
    assert reached["sslmode"] == "verify-full"
    assert "-c search_path=headrace -c lock_timeout=" in str(reached["options"])
    assert str(reached["options"]).endswith(" -c synchronous_commit=off")
    assert reached["connect_timeout"] == "2"


def shown(**environment: str) -> dict[str, Any]:
    """Return what the settings are in that environment."""
    done = run(SHOW, **environment)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
