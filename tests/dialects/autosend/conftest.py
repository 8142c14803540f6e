import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from contacts.crud import create_contact
from contacts.models import Contact
from contacts.references import ContactChanges
from tests.workspaces.factories import WorkspaceFactory, a_key
from workspaces.models import Workspace
from workspaces.throttles import reset_limits

ORDER = {
    "eventName": "order_completed",
    "description": "An order was paid",
    "properties": [
        {"propertyName": "order_total", "type": "number"},
        {"propertyName": "currency", "type": "string", "suggestedValues": ["USD", "EUR"]},
        {"propertyName": "is_first_purchase", "type": "boolean"},
        {"propertyName": "paid_at", "type": "date", "description": "When the money came"},
    ],
}


@dataclass(frozen=True)
class Project:
    """A workspace and how its key calls this API."""

    workspace: Workspace
    secret: str

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        headers = {"Authorization": f"Bearer {self.secret}", **headers}
        # What the official client sends, with a body or without one.
        return Client().generic(
            method,
            path if path.startswith("/v1") else f"/autosend/v1{path}",
            body if isinstance(body, str | bytes) else b"" if body is None else _json(body),
            content_type="application/json",
            headers=headers,
        )

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.call("POST", path, body, **headers)

    def patch(self, path: str, body: Any) -> Any:
        return self.call("PATCH", path, body)

    def delete(self, path: str) -> Any:
        return self.call("DELETE", path)

    def send(self, **body: Any) -> Any:
        return self.post("/events/send", {"eventName": "order_completed", **body})


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()


@pytest.fixture(autouse=True)
def _fresh_limits():
    reset_limits()
    yield
    reset_limits()


@pytest.fixture
def project(db) -> Project:
    workspace = WorkspaceFactory()
    return Project(workspace, a_key(workspace).secret)


@pytest.fixture
def order(project) -> dict[str, Any]:
    """Declare the document's event."""
    return project.post("/events", ORDER).json()["data"]


@pytest.fixture
def jane(project) -> Contact:
    return create_contact(project.workspace, ContactChanges(identifiers=(("email", "jane@example.com"),)))
