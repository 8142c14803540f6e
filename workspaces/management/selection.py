"""The option that chooses a command's workspaces."""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError

from config.ids import NO_ID, parse_uuid
from workspaces.models import Workspace


def add_workspaces(parser: ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument("--workspace", help="A workspace's id; by default all of them.")


def chosen_workspaces(options: Mapping[str, Any]) -> list[Workspace]:
    """Return the workspaces that were asked for. Raises CommandError."""
    wanted = options["workspace"]
    if wanted is None:
        return list(Workspace.objects.order_by("id"))
    found = list(Workspace.objects.filter(id=parse_uuid(wanted) or NO_ID))
    if not found:
        raise CommandError(f"There is no workspace {wanted}.")
    return found
