"""What the commands of an installation know of its running web server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.home import announce_url, announced_url

ROOT = Path(__file__).resolve().parents[2]
LINK = "from django.conf import settings; print(settings.PUBLIC_URL)"


def link(home: Path, **environment: str) -> str:
    """Return what a command in another terminal builds links from."""
    done = subprocess.run(
        [sys.executable, "-c", LINK],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "HEADRACE_HOME": str(home),
            **environment,
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.parametrize("announced", ["http://localhost:8031", "https://tunnel.example"])
def test_links_of_commands_lead_to_what_was_announced(tmp_path, monkeypatch, announced):
    monkeypatch.delenv("PUBLIC_URL", raising=False)
    monkeypatch.setenv("HEADRACE_HOME", str(tmp_path / "home"))
    assert link(tmp_path / "home") == "http://localhost:8000"
    announce_url(announced)
    assert link(tmp_path / "home") == announced
    assert link(tmp_path / "home", PUBLIC_URL="https://ours.example") == "https://ours.example"
    announce_url(None)
    announce_url(None)
    assert announced_url() is None
