"""A running server with a workspace and a key of it, for the vendors' own clients."""

from dataclasses import dataclass
from typing import Any

import pytest

from workspaces.models import Workspace
from workspaces.services import create_workspace, issue_api_key


@dataclass(frozen=True)
class RunningServer:
    """Where it listens, and what opens it."""

    url: str
    workspace: Workspace
    key: str


@pytest.fixture
def server(live_server: Any) -> RunningServer:
    """Serve on a socket of this machine; rows are committed, and gone after the test."""
    workspace = create_workspace("Conformance")
    return RunningServer(live_server.url, workspace, issue_api_key(workspace.id, "conformance").secret)
