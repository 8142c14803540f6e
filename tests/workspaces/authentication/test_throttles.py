import socket
import time

import pytest

from tests.workspaces.factories import a_key, an_application, bearer
from workspaces.rates import validate_rate
from workspaces.throttles import hit

pytestmark = pytest.mark.django_db


def test_no_limit_holds_by_default(client):
    answer = client.get("/probe", **bearer(a_key().secret))
    assert not [name for name in answer.headers if name.startswith("X-RateLimit")]


def test_every_answer_tells_the_budget(client):
    secret = a_key(rate_limit="3/minute").secret
    before = time.time()
    answers = [client.get("/probe", **bearer(secret))]
    answers.append(client.post("/probe", [], content_type="application/json", **bearer(secret)))
    answers.append(client.patch("/probe", {}, content_type="application/json", **bearer(secret)))
    answers.append(client.get("/probe", **bearer(secret)))
    assert [answer.status_code for answer in answers] == [200, 400, 405, 429]
    assert [answer.headers["X-RateLimit-Limit"] for answer in answers] == ["3"] * 4
    assert [answer.headers["X-RateLimit-Remaining"] for answer in answers] == ["2", "1", "0", "0"]
    assert before < int(answers[-1].headers["X-RateLimit-Reset"]) <= before + 62
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 60
    assert answers[-1].json() == {"error": "Too many requests"}


def test_the_vendors_limit_is_the_views(client):
    secret = a_key(rate_limit="vendor").secret
    statuses = [client.get("/probe", **bearer(secret)).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_credentials_have_budgets_of_their_own(client):
    first = a_key(rate_limit="1/minute")
    second = a_key(first.api_key.workspace, rate_limit="1/minute")
    assert client.get("/probe", **bearer(first.secret)).status_code == 200
    assert client.get("/probe", **bearer(first.secret)).status_code == 429
    assert client.get("/probe", **bearer(second.secret)).status_code == 200


def test_an_application_has_a_limit_too(client):
    created = an_application(rate_limit="1/minute")
    body = {
        "grant_type": "client_credentials",
        "client_id": created.application.client_id,
        "client_secret": created.client_secret,
    }
    secrets = [client.post("/oauth2/token", body).json()["access_token"] for _ in range(2)]
    assert [client.get("/probe", **bearer(secret)).status_code for secret in secrets] == [200, 429]


def test_without_a_shared_storage_a_process_keeps_its_share(client, settings):
    settings.RATE_LIMIT_PROCESSES = 2
    secret = a_key(rate_limit="4/minute").secret
    answers = [client.get("/probe", **bearer(secret)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["X-RateLimit-Limit"] for answer in answers] == ["4"] * 3
    assert answers[0].headers["X-RateLimit-Remaining"] == "2"


def test_a_refused_storage_lets_requests_pass(client, settings):
    settings.RATE_LIMIT_STORAGE_URL = "redis://127.0.0.1:1/0"
    secret = a_key(rate_limit="1/minute").secret
    answers = [client.get("/probe", **bearer(secret)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3


def test_a_silent_storage_costs_one_short_wait(client, settings):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.RATE_LIMIT_STORAGE_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        secret = a_key(rate_limit="1/minute").secret
        start = time.monotonic()
        for _ in range(20):
            assert client.get("/probe", **bearer(secret)).status_code == 200
        assert time.monotonic() - start < 3


def test_nothing_is_counted_when_no_limit_holds(monkeypatch):
    monkeypatch.setattr("workspaces.throttles._hit", None)
    assert hit("key:1", "", "2/second") is None
    assert hit("key:1", "vendor", "") is None


@pytest.mark.parametrize("rate", ["", "vendor", "2/second", "120/minute", "400 per 1 minute"])
def test_rates_that_are_taken(rate):
    validate_rate(rate)
