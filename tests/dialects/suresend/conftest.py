import json

import pytest
from django.test import Client

from workspaces.services import create_workspace, issue_api_key

PATH = "/api/partner/events"


@pytest.fixture
def workspace(db):
    return create_workspace("Realtors")


@pytest.fixture
def key(workspace):
    return issue_api_key(workspace.id, "partner").secret


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
