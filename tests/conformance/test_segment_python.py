"""The Python clients of Segment, RudderStack and Customer.io's pipelines, unmodified, against a running server."""

import gc
import time
from datetime import datetime

import customerio.analytics.request
import pytest
import rudderstack.analytics.request
import segment.analytics.request
from customerio.analytics.client import Client as CustomerIoClient
from rudderstack.analytics.client import Client as RudderStackClient
from segment.analytics.client import Client as SegmentClient

from events.models import Event
from tests.conformance.segment_calls import CALLS, assert_recorded, fail_once
from workspaces.services import issue_api_key
from workspaces.throttles import reset_limits

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
CLIENTS = {"segment": SegmentClient, "rudder": RudderStackClient, "customerio": CustomerIoClient}
MODULES = {
    "segment": segment.analytics.request,
    "rudder": rudderstack.analytics.request,
    "customerio": customerio.analytics.request,
}
ARGUMENTS = {
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "groupId": "group_id",
    "previousId": "previous_id",
}


@pytest.fixture(params=CLIENTS)
def run(request, server):
    """Return the errors that a client tells of after calls, each (method, message)."""

    def run(calls, *, key=server.key, path="", **options):
        errors = []
        client = CLIENTS[request.param](
            key,
            host=server.url + path,
            on_error=lambda error, _: errors.append(str(error)),
            timeout=10,
            **options,
        )
        for method, message in calls:
            getattr(client, method)(**_arguments(message))
        client.flush()
        client.join()
        # Else a thread of the server waits for the next request.
        MODULES[request.param]._session.close()
        gc.collect()
        return errors

    return run


def _arguments(message):
    told = {ARGUMENTS.get(name, name): value for name, value in message.items()}
    if "timestamp" in told:
        told["timestamp"] = datetime.fromisoformat(told["timestamp"].replace("Z", "+00:00"))
    return told


@pytest.mark.parametrize(("path", "is_packed"), [("", False), ("/segment/", True)])
def test_calls(run, server, path, is_packed):
    assert run(CALLS, path=path, gzip=is_packed) == []
    assert_recorded(server.workspace)


def test_it_comes_again_after_a_503(run, server, monkeypatch):
    count = fail_once(monkeypatch)
    assert run(CALLS) == []
    assert_recorded(server.workspace)
    assert count() == 2


def test_it_waits_where_the_rate_is_passed(run, server):
    reset_limits()
    key = issue_api_key(server.workspace.id, "slow", rate_limit="1/2second").secret
    started = time.monotonic()
    calls = [["track", {"userId": "user-1", "event": f"Event {number}"}] for number in range(2)]
    assert run(calls, key=key, upload_size=1) == []
    reset_limits()
    assert Event.objects.filter(source="api").count() == 2
    assert time.monotonic() - started >= 1


def test_a_wrong_key_is_given_up(run, server):
    started = time.monotonic()
    (error,) = run(CALLS[:1], key="wrong")
    assert "401" in error
    assert "unauthenticated" in error
    assert time.monotonic() - started < 5
