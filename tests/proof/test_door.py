"""A crowd at the door does not keep those who send events waiting."""

import http.client
import json
import random
import statistics
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager

import pytest

from tests.config.runtime.test_supervisor import wait_for
from tests.proof.system import Client, System

pytestmark = pytest.mark.slow

CROWD = 24
SENDS = 60


@pytest.fixture(scope="module")
def system(tmp_path_factory):
    """Run Headrace behind a proxy, so that each attempt is from an address of its own and no rate holds it up."""
    running = System(
        tmp_path_factory.mktemp("door") / "home",
        PROXY_COUNT="1",
        LOGIN_TOTAL_RATE_LIMIT="1000000/minute",
    )
    yield running
    running.stop()


class Crowd:
    """Connections that ask something again and again; what they were answered, by status."""

    def __init__(self, system: System, method: str, path: str, *, signs_in: bool) -> None:
        self.answers: Counter[int] = Counter()
        self._asks = (system.port, method, path, signs_in)
        self._stop = threading.Event()

    @contextmanager
    def at_the_door(self):
        threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(CROWD)]
        for thread in threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in threads:
                thread.join(60)

    def _ask(self) -> None:
        port, method, path, signs_in = self._asks
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        with closing(connection):
            while not self._stop.is_set():
                body = {"username": f"u{random.random()}", "password": "x" * 10}
                address = ".".join(str(random.randrange(1, 255)) for _ in range(4))
                headers = {"Content-Type": "application/json", "X-Forwarded-For": address}
                connection.request(method, path, json.dumps(body) if signs_in else None, headers)
                answer = connection.getresponse()
                answer.read()
                self.answers[answer.status] += 1
                if answer.status == 429:
                    assert answer.headers["Retry-After"]
                time.sleep(0.2)


def p95_of_sends(system: System) -> float:
    """Return how long one of twenty sends takes at least, in seconds."""
    with closing(Client(system)) as client:
        for n in range(SENDS):
            client.post("events", {"type": "view", "metadata": {"n": n}}, attempts_seconds=60)
        return statistics.quantiles(client.times, n=20)[-1]


def test_a_crowd_that_signs_in_costs_sends_little_more_than_one_that_asks_anything_else(system):
    p95_of_sends(system)
    p95: dict[str, float] = {}
    for name, method, path, signs_in in (
        ("asks", "GET", "/api/auth/session", False),
        ("signs in", "POST", "/api/auth/login", True),
    ):
        crowd = Crowd(system, method, path, signs_in=signs_in)
        with crowd.at_the_door():
            p95[name] = p95_of_sends(system)
            # However quick the sends were.
            wait_for(lambda: sum(crowd.answers.values()) > 5 * CROWD, 60)  # noqa: B023  # it is over at once
    # Some were let in, one by one; the others were told to come back.
    assert set(crowd.answers) <= {401, 429}
    assert crowd.answers[429] > crowd.answers[401]
    # What each costs in hashes and statements: workspaces/authentication/test_sign_in.py.
    assert p95["signs in"] < 25 * p95["asks"], p95
    # The log tells who was refused: the address that the proxy saw.
    wait_for(lambda: "Sign-in refused: no such user" in system.output(), 10)
