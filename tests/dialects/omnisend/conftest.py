import json

import pytest
from django.test import Client

from workspaces.services import create_workspace, issue_api_key

PATH = "/v4/track"


@pytest.fixture
def workspace(db):
    return create_workspace("Shop")


@pytest.fixture
def key(workspace):
    return issue_api_key(workspace.id, "shop").secret


@pytest.fixture
def send(key):
    def send_body(body, *, path=PATH, secret=key, **headers):
        return Client().post(
            path,
            body if isinstance(body, bytes | str) else json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {secret}", **headers},
        )

    return send_body


@pytest.fixture
def track(send):
    """Track an event of jane's with these properties."""

    def track_properties(properties, name="order_completed", **more):
        body = {"eventName": name, "contact": {"email": "jane@example.com"}, "properties": properties, **more}
        return send(body)

    return track_properties


@pytest.fixture
def problems():
    """Return the (field, code) pairs of a refusal."""

    def problems_of(answer):
        assert answer.status_code == 400, answer.content
        assert answer.headers["Content-Type"] == "application/problem+json"
        body = answer.json()
        assert set(body) == {"type", "title", "status", "detail", "instance", "errors"}
        assert body["type"] == "https://problems.omnisend.com/validation-failed"
        assert (body["title"], body["status"]) == ("Validation failed", 400)
        assert all(set(error) == {"field", "code", "message"} for error in body["errors"])
        return [(error["field"], error["code"]) for error in body["errors"]]

    return problems_of
