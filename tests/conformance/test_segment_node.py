"""The Node clients of Segment, RudderStack and Customer.io's pipelines, unmodified, against a running server."""

import json
import os
import subprocess

import pytest

from tests.conformance.conftest import HERE
from tests.conformance.segment_calls import CALLS, assert_recorded, fail_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]


@pytest.fixture(params=["segment", "rudder", "customerio"])
def run(request, server, clients_home):
    """Return what became of calls, each (method, message)."""

    def run(calls, *, key=server.key, path=""):
        script = {"client": request.param, "key": key, "host": server.url, "path": path, "calls": calls}
        finished = subprocess.run(
            ["node", str(HERE / "segment_client.cjs")],
            input=json.dumps(script),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={**os.environ, "CLIENTS_HOME": str(clients_home)},
        )
        return json.loads(finished.stdout)

    run.client = request.param
    return run


def test_calls(run, server):
    assert run(CALLS)["errors"] == []
    assert_recorded(server.workspace)


def test_below_a_path(run, server):
    path = "/segment" if run.client == "rudder" else "/segment/v1/batch"
    assert run(CALLS, path=path)["errors"] == []
    assert_recorded(server.workspace)


def test_it_comes_again_after_a_503(run, server, monkeypatch):
    count = fail_once(monkeypatch)
    assert run(CALLS)["errors"] == []
    assert_recorded(server.workspace)
    assert count() >= 2


def test_a_wrong_key_is_given_up(run, server):
    told = run(CALLS[:1], key="wrong")
    # One of them takes a 401 for a passing one, comes again some times, and tells nothing.
    assert run.client == "customerio" or any(
        "401" in error or error == "Unauthorized" for error in told["errors"]
    ), told
    assert told["seconds"] < 10
