"""`check --deploy` refuses what would embarrass in production, and says what to do."""

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

ROOT = Path(__file__).resolve().parents[2]
DATABASE = {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": "db.example",
    "OPTIONS": {"sslmode": "verify-full"},
}
SMTP = "campaigns.messaging.channels.email.SMTPBackend"
PROVIDER = "anymail.backends.postmark.EmailBackend"
GOOD: dict[str, Any] = {
    "DEBUG": False,
    "PRODUCTION": True,
    "ALLOWED_HOSTS": ["headrace.example"],
    "PUBLIC_URL": "https://headrace.example",
    "PROXY_COUNT": 1,
    "SECRET_KEY": secrets.token_urlsafe(48),
    "ERASURE_KEY": secrets.token_urlsafe(48),
    "CELERY_BROKER_URL": "rediss://cache.example/0",
    "RATE_LIMIT_STORAGE_URL": "rediss://cache.example/1",
    "RATE_LIMIT_PROCESSES": 1,
    "METRICS_TOKEN": secrets.token_urlsafe(24),
    "METRICS_ALLOWED": [],
    "WEBHOOK_ALLOW_PRIVATE_ADDRESSES": False,
    "EMAIL_BACKEND": SMTP,
    "EMAIL_HOST": "mail.example",
    "EMAIL_USE_TLS": True,
    "EMAIL_USE_SSL": False,
    "ANYMAIL": {},
    "DEFAULT_FROM_EMAIL": "News <news@headrace.example>",
}


@pytest.fixture
def found(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return what tells what is said of a good installation with some things changed."""
    return partial(_found, settings, monkeypatch)


def _found(settings: Any, monkeypatch: pytest.MonkeyPatch, **changed: Any) -> list[str]:
    for name, value in changed.pop("database", DATABASE).items():
        # Only looked at: the connections of this process stay.
        monkeypatch.setitem(settings.DATABASES["default"], name, value)
    for name, value in {**GOOD, **changed}.items():
        setattr(settings, name, value)
    messages = [
        check
        for check in run_checks(include_deployment_checks=True)
        if (check.id or "").startswith("headrace.")
    ]
    assert all(message.hint and message.msg for message in messages)
    return [str(message.id).removeprefix("headrace.") for message in messages]


def test_of_a_good_installation_nothing_is_said(found) -> None:
    assert found() == []
    assert found(METRICS_TOKEN="", METRICS_ALLOWED=[ip_network("10.0.0.0/8")]) == []
    news = {"WEBHOOK_SECRET": f"name:{secrets.token_urlsafe(24)}"}
    assert found(EMAIL_BACKEND=PROVIDER, ANYMAIL=news) == []
    assert found(RATE_LIMIT_STORAGE_URL="memory://", RATE_LIMIT_PROCESSES=4) == []
    local = {"HOST": "/run/postgresql", "OPTIONS": {}}
    assert found(database={**DATABASE, **local}, CELERY_BROKER_URL="redis://localhost/0") == []


@pytest.mark.parametrize(
    ("id_", "changed"),
    [
        ("E030", {"DEBUG": True}),
        ("W030", {"PRODUCTION": False}),
        ("E031", {"ALLOWED_HOSTS": ["headrace.example", "*"]}),
        ("E031", {"ALLOWED_HOSTS": ["."]}),
        ("E032", {"PUBLIC_URL": "http://headrace.example"}),
        ("E032", {"PUBLIC_URL": "https://localhost"}),
        ("E032", {"PUBLIC_URL": "https://127.0.0.1:8000"}),
        ("I030", {"PROXY_COUNT": 0}),
        ("E033", {"SECRET_KEY": "only-for-this-machine"}),
        ("E033", {"SECRET_KEY": "a" * 60}),
        ("E033", {"ERASURE_KEY": "short"}),
        ("W031", {"database": {"ENGINE": "config.runtime.postgres.backend"}}),
        ("E034", {"database": {**DATABASE, "OPTIONS": {}}}),
        ("E034", {"database": {**DATABASE, "OPTIONS": {"sslmode": "prefer"}}}),
        ("W032", {"CELERY_BROKER_URL": "redis://cache.example/0"}),
        ("W032", {"CELERY_BROKER_URL": "amqp://user:password@queue.example//"}),
        ("W033", {"RATE_LIMIT_STORAGE_URL": "redis://cache.example/1"}),
        ("W010", {"RATE_LIMIT_STORAGE_URL": "memory://"}),
        ("E035", {"METRICS_TOKEN": "", "METRICS_ALLOWED": [ip_network("0.0.0.0/0")]}),
        ("E035", {"METRICS_TOKEN": "", "METRICS_ALLOWED": [ip_network("10.0.0.0/8"), ip_network("::/0")]}),
        ("E036", {"METRICS_TOKEN": "secret"}),
        ("W034", {"WEBHOOK_ALLOW_PRIVATE_ADDRESSES": True}),
        ("E021", {"EMAIL_BACKEND": "campaigns.messaging.channels.inbox.InboxBackend"}),
        ("W020", {"EMAIL_USE_TLS": False}),
        ("W021", {"EMAIL_BACKEND": PROVIDER}),
        ("E022", {"EMAIL_BACKEND": PROVIDER, "ANYMAIL": {"WEBHOOK_SECRET": "name:secret"}}),
        ("E022", {"EMAIL_BACKEND": PROVIDER, "ANYMAIL": {"WEBHOOK_SECRET": secrets.token_urlsafe(24)}}),
        ("E023", {"DEFAULT_FROM_EMAIL": "Headrace <headrace@localhost>"}),
    ],
)
def test_what_would_embarrass_is_named(found, id_: str, changed: dict[str, Any]) -> None:
    assert found(**changed) == [id_]


def test_it_runs_by_its_command(tmp_path: Path) -> None:
    environment = {**os.environ, "HEADRACE_HOME": str(tmp_path), "EMAIL_URL": "", "DATABASE_URL": ""}
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for id_ in ("E031", "E032", "E021", "W031"):
        assert f"(headrace.{id_})" in done.stderr
    assert "Traceback" not in done.stderr
