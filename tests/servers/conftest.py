"""The servers of `make test-servers`: DATABASE_URL, REDIS_URL and AMQP_URL say where they are."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from uuid import uuid4

import kombu
import psycopg
import pytest
import redis
from psycopg import sql

from tests.servers.relay import Relay

HERE = Path(__file__).parent
VARIABLES = {"redis": "REDIS_URL", "amqp": "AMQP_URL"}
PORTS = {"redis": 6379, "amqp": 5672}


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these tests to those who name their folder: elsewhere there are no servers."""
    named = [Path(argument.split("::")[0]).resolve() for argument in config.args]
    return None if any(HERE in (path, *path.parents) for path in named) else True


@dataclass
class Broker:
    """A broker behind a relay, and a queue in it that no other test uses."""

    kind: str
    relay: Relay
    address: SplitResult
    queue: str

    @property
    def settings(self) -> dict[str, str]:
        """What Headrace is told of it."""
        return {"CELERY_BROKER_URL": self._through_relay(), "BROKER_QUEUE": self.queue}

    def forget(self) -> None:
        """Lose what the queue holds and all that is known of it."""
        if self.kind == "amqp":
            with kombu.Connection(self.address.geturl()) as connection:
                channel = connection.channel()
                channel.queue_delete(self.queue)
                channel.exchange_delete(self.queue)
            return
        with redis.Redis.from_url(self.address.geturl()) as client:
            for key in client.scan_iter(f"{self.queue}:*"):
                client.delete(key)

    def _through_relay(self) -> str:
        user, at, _ = self.address.netloc.rpartition("@")
        return self.address._replace(netloc=f"{user}{at}127.0.0.1:{self.relay.port}").geturl()


@pytest.fixture(params=VARIABLES)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Stand before each of the brokers in turn."""
    kind = request.param
    address = urlsplit(required(VARIABLES[kind]))
    relay = Relay(address.hostname or "127.0.0.1", address.port or PORTS[kind])
    broker = Broker(kind, relay, address, f"headrace-test-{uuid4().hex[:12]}")
    yield broker
    relay.cut()
    broker.forget()


@pytest.fixture
def database() -> Iterator[str]:
    """Make a database of the test's own in the server; return its address."""
    address = required("DATABASE_URL")
    name = f"headrace_test_{uuid4().hex[:12]}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        yield urlsplit(address)._replace(path=f"/{name}").geturl()
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def required(variable: str) -> str:
    """Return the variable's value; a test without its server fails."""
    value = os.environ.get(variable)
    if not value:
        pytest.fail(f"{variable} is not set: see `make test-servers`")
    return value
