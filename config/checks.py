"""System checks of a production installation: `manage.py check --deploy`."""

from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register  # noqa: A004  # Django's name
from django.core.exceptions import ImproperlyConfigured

from config.secret_keys import require_secret

_TLS_MODES = {"require", "verify-ca", "verify-full"}
_SHORTEST_TOKEN = 16
Found = Iterator[CheckMessage]


def register_checks() -> None:
    """Register the checks with `check --deploy`."""
    for find in _CHECKS:
        register(_listed(find), Tags.security, deploy=True)


def _listed(find: Callable[[], Found]) -> Callable[..., list[CheckMessage]]:
    def check(**_: Any) -> list[CheckMessage]:
        return list(find())

    return check


def find_development() -> Found:
    """Report settings for development."""
    if settings.DEBUG:
        yield Error(
            "DEBUG shows settings, code and rows to whoever provokes a fault.",
            hint="Leave DEBUG unset.",
            id="headrace.E030",
        )
    if not settings.PRODUCTION:
        yield Warning(
            "PRODUCTION is off: neither HTTPS nor secure cookies nor keys of your own are demanded.",
            hint="Set PRODUCTION=1.",
            id="headrace.W030",
        )


def find_hosts() -> Found:
    """Report host names and public URLs that do not work in production."""
    if any(host.strip(".") in {"*", ""} for host in settings.ALLOWED_HOSTS):
        yield Error(
            "ALLOWED_HOSTS lets a request call this installation anything.",
            hint="Name your hosts: ALLOWED_HOSTS=headrace.example",
            id="headrace.E031",
        )
    address = urlsplit(settings.PUBLIC_URL)
    if address.scheme != "https" or is_local(address.hostname or ""):
        yield Error(
            "PUBLIC_URL is no https:// address of the world's: links in messages lead nowhere, or in clear.",
            hint="Set PUBLIC_URL=https://headrace.example",
            id="headrace.E032",
        )
    if settings.PRODUCTION and not settings.PROXY_COUNT:
        yield Info(
            "PROXY_COUNT is 0: behind a proxy all visitors would share one address's rates.",
            hint="Set PROXY_COUNT to the number of your proxies in front, if there are any.",
            id="headrace.I030",
        )


def find_secrets() -> Found:
    """Report secrets that are known or can be guessed."""
    for name in ("SECRET_KEY", "ERASURE_KEY"):
        try:
            require_secret(name, getattr(settings, name), strong=True)
        except ImproperlyConfigured as error:
            yield Error(str(error), hint=f"Set another {name}.", id="headrace.E033")


def find_storage() -> Found:
    """Report unencrypted connections, and storage that serves only one machine."""
    database = settings.DATABASES["default"]
    if database["ENGINE"] == "config.runtime.postgres.backend":
        yield Warning(
            "The database is the embedded one: it lives on this machine only, and nobody backs it up for you.",
            hint="Set DATABASE_URL=postgres://…?sslmode=verify-full",
            id="headrace.W031",
        )
    elif (
        not is_local(database.get("HOST") or "")
        and database["OPTIONS"].get("sslmode", "prefer") not in _TLS_MODES
    ):
        yield Error(
            "DATABASE_URL does not demand TLS on the way to another machine.",
            hint="Add ?sslmode=verify-full&sslrootcert=… to it.",
            id="headrace.E034",
        )
    broker = urlsplit(settings.CELERY_BROKER_URL)
    if broker.scheme in {"redis", "amqp", "pyamqp"} and not is_local(broker.hostname or ""):
        yield Warning(
            "CELERY_BROKER_URL is not encrypted on the way to another machine.",
            hint="Use rediss:// or amqps://, or a network of your own.",
            id="headrace.W032",
        )
    rates = urlsplit(settings.RATE_LIMIT_STORAGE_URL)
    if rates.scheme == "redis" and not is_local(rates.hostname or ""):
        yield Warning(
            "RATE_LIMIT_STORAGE_URL is not encrypted on the way to another machine.",
            hint="Use rediss://, or a network of your own.",
            id="headrace.W033",
        )


def find_open_access() -> Found:
    """Report settings that allow more access than they seem to."""
    token, allowed = settings.METRICS_TOKEN, settings.METRICS_ALLOWED
    if not token and any(network.prefixlen == 0 for network in allowed):
        yield Error(
            "METRICS_ALLOWED lets everybody read /metrics.",
            hint="Name the networks of your Prometheus, or set METRICS_TOKEN.",
            id="headrace.E035",
        )
    if token and len(token) < _SHORTEST_TOKEN:
        yield Error(
            "METRICS_TOKEN can be guessed.",
            hint="python -c 'import secrets; print(secrets.token_urlsafe(24))' makes a good one.",
            id="headrace.E036",
        )
    if settings.WEBHOOK_ALLOW_PRIVATE_ADDRESSES:
        yield Warning(
            "WEBHOOK_ALLOW_PRIVATE_ADDRESSES lets whoever edits campaigns call into your network.",
            hint="Leave it unset unless all of them are trusted.",
            id="headrace.W034",
        )


def is_local(host: str) -> bool:
    """Tell whether a host is this machine: its name, a loopback address, or the folder of a socket."""
    if not host or host.startswith("/") or host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


_CHECKS = (find_development, find_hosts, find_secrets, find_storage, find_open_access)
