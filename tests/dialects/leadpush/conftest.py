import json
from dataclasses import dataclass
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from contacts.crud import create_contact
from contacts.models import Contact
from contacts.references import ContactChanges
from workspaces.models import Workspace
from workspaces.services import create_workspace, issue_api_key


@dataclass(frozen=True)
class Caller:
    """A client of one workspace; `base` is the generation it speaks."""

    workspace: Workspace
    key: str
    base: str

    def request(
        self, method: str, path: str, body: Any = None, *, key: str | None = None, **headers: str
    ) -> Any:
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        options: dict[str, Any] = (
            {"data": content, "content_type": "application/json"} if body is not None else {}
        )
        bearer = {"Authorization": f"Bearer {self.key if key is None else key}"}
        return Client().generic(method, f"{self.base}/{path}", headers={**bearer, **headers}, **options)

    def get(self, path: str, **options: Any) -> HttpResponse:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.request("POST", path, body, **options)

    def send(self, contact: object, body: Any, **options: Any) -> Any:
        return self.post(f"contacts/{contact}/events", body, **options)


@pytest.fixture
def workspace(db: None) -> Workspace:
    return create_workspace("Senders")


@pytest.fixture
def key(workspace: Workspace) -> str:
    return issue_api_key(workspace.id, "key").secret


@pytest.fixture
def older(workspace: Workspace, key: str) -> Caller:
    """The generation of the seed: the workspace is in the path, at the root."""
    return Caller(workspace, key, f"/v1/workspaces/{workspace.id}")


@pytest.fixture
def newer(workspace: Workspace, key: str) -> Caller:
    """The generation of the SDKs: the key names the workspace."""
    return Caller(workspace, key, "/leadpush/v1")


@pytest.fixture(params=["older", "newer"])
def either(request: pytest.FixtureRequest) -> Caller:
    caller: Caller = request.getfixturevalue(request.param)
    return caller


@pytest.fixture
def contact(workspace: Workspace) -> Contact:
    return create_contact(workspace, ContactChanges(identifiers=(("email", "person@example.com"),)))


@pytest.fixture
def foreign_contact(db: None) -> Contact:
    other = create_workspace("Others")
    return create_contact(other, ContactChanges(identifiers=(("email", "theirs@example.com"),)))
