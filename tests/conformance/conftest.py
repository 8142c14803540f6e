"""A running server with a workspace and a key of it, for the vendors' own clients."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from tests.browser import chromium
from workspaces.models import Workspace
from workspaces.services import create_workspace, issue_api_key

HERE = Path(__file__).parent


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


@pytest.fixture(scope="session")
def clients_home() -> Path:
    """Install the clients that package.json names, once for each version of it, outside the repository."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not on this machine, and these clients run on nothing else")
    home = Path(settings.HEADRACE_HOME) / "test-clients"
    manifest = (HERE / "package.json").read_text()
    done = home / "installed.json"
    if not done.exists() or done.read_text() != manifest:
        home.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / "package.json", home)
        command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        installed = subprocess.run(
            command, cwd=home, capture_output=True, text=True, timeout=180, check=False
        )
        if installed.returncode:
            pytest.skip(f"npm could not install the clients: {installed.stderr.strip()[-300:]}")
        done.write_text(manifest)
    return home


@pytest.fixture(scope="module", autouse=True)
def _end_of_browsers() -> Iterator[None]:
    yield
    chromium.end_idle()
