"""A client of the native API, bound to one workspace and one key."""

from typing import Any

from django.test import Client

from tests.workspaces.factories import a_key, bearer
from workspaces.models import Workspace


class NativeClient:
    def __init__(
        self, workspace: Workspace, *, secret: str | None = None, base: Workspace | None = None
    ) -> None:
        self.workspace = workspace
        self.base = f"/api/workspaces/{(base or workspace).id}"
        self.headers = bearer(secret or a_key(workspace).secret)
        self.client = Client()

    def get(self, path: str, **parameters: Any) -> Any:
        return self.client.get(f"{self.base}/{path}", parameters, **self.headers)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self._send("post", path, body, **headers)

    def patch(self, path: str, body: Any) -> Any:
        return self._send("patch", path, body)

    def delete(self, path: str) -> Any:
        return self.client.delete(f"{self.base}/{path}", **self.headers)

    def _send(self, method: str, path: str, body: Any, **headers: str) -> Any:
        send = getattr(self.client, method)
        return send(f"{self.base}/{path}", body, content_type="application/json", **self.headers, **headers)
