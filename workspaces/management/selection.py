"""The option `--workspace` of commands: of one workspace, or of all unless one is named."""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError

from config.ids import NO_ID, parse_uuid
from workspaces.models import Workspace


def add_workspace(parser: ArgumentParser) -> None:
    """Declare the option of a command that takes one workspace."""
    parser.add_argument("--workspace", required=True, help="The id of the workspace.")


def named_workspace(options: Mapping[str, Any]) -> Workspace:
    """Return the workspace that was asked for. Raises CommandError."""
    found = Workspace.objects.filter(id=parse_uuid(options["workspace"]) or NO_ID).first()
    if found is None:
        raise CommandError(f"There is no workspace {options['workspace']}.")
    return found


def add_workspaces(parser: ArgumentParser) -> None:
    """Declare the option of a command that takes all workspaces, or one."""
    parser.add_argument("--workspace", help="A workspace's id; by default all of them.")


def chosen_workspaces(options: Mapping[str, Any]) -> list[Workspace]:
    """Return the workspaces that were asked for. Raises CommandError."""
    if options["workspace"] is None:
        return list(Workspace.objects.order_by("id"))
    return [named_workspace(options)]
