"""The demo workspace that `prepare` creates in an empty installation, and its credentials."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.db import transaction

from workspaces.models import Workspace

DEMO_USER = "demo@example.com"


def find_or_create_demo(path: Path) -> dict[str, Any] | None:
    """Return the demo workspace's credentials, creating it, and the file, where there is no workspace.

    None where there are others. The superuser's password is returned when it is made, and kept nowhere.
    """
    if path.exists():
        stored: dict[str, Any] = json.loads(path.read_text())
        if Workspace.objects.filter(id=stored["workspace"]).exists():
            return stored
    if Workspace.objects.exists():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)  # with a DATABASE_URL nothing else has made it
    with transaction.atomic():
        output = StringIO()
        call_command(
            "create_workspace", "Demo", "--json", "--staff", f"--owner-email={DEMO_USER}", stdout=output
        )
        demo = json.loads(output.getvalue())
        stored = {**demo, "user": {"username": demo["user"]["username"]}}
        # Before the commit: a file without its workspace is replaced, a workspace without its file is lost.
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(stored))
        draft.replace(path)
    return dict(demo)
