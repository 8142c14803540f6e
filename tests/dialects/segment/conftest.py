import json
from base64 import b64encode

import pytest
from django.test import Client

from workspaces.services import create_workspace, issue_api_key

SITE = "https://shop.example"


def basic(secret):
    return "Basic " + b64encode(f"{secret}:".encode()).decode()


@pytest.fixture
def workspace(db):
    workspace = create_workspace("Shop")
    workspace.allowed_origins = [SITE]
    workspace.save(update_fields=["allowed_origins"])
    return workspace


@pytest.fixture
def key(workspace):
    return issue_api_key(workspace.id, "server").secret


@pytest.fixture
def page_key(workspace):
    return issue_api_key(workspace.id, "page", scopes=["events:write"]).secret


@pytest.fixture
def post(key):
    """Post a body as the server's clients do, and return the answer."""

    def post_body(path, body, *, secret=key, content_type="application/json", headers=None):
        own = {"Authorization": basic(secret)} if secret else {}
        return Client().post(
            f"/v1/{path}" if not path.startswith("/") else path,
            body if isinstance(body, bytes | str) else json.dumps(body),
            content_type=content_type,
            headers={**own, **(headers or {})},
        )

    return post_body


@pytest.fixture
def send(post):
    """Send a call that must be taken."""

    def send_call(kind, body, **options):
        answer = post(kind, body, **options)
        assert (answer.status_code, answer.json()) == (200, {"success": True}), answer.content
        return answer

    return send_call
