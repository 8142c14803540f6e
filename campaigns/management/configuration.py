"""What the commands about configurations share."""

from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, OutputWrapper

from campaigns.configuration.folders import Document, read_folder
from campaigns.configuration.kinds import KINDS
from campaigns.configuration.plans import Plan
from workspaces.management.selection import add_workspace

FOLDERS = [kind.folder for kind in KINDS]


def add_folder(parser: ArgumentParser) -> None:
    """Declare the folder and the workspace."""
    parser.add_argument("folder", type=Path, help="The folder of the configuration.")
    add_workspace(parser)


def add_prune(parser: ArgumentParser) -> None:
    """Declare the option to delete what is not in the folder."""
    parser.add_argument(
        "--prune",
        action="store_true",
        help="Delete what the folder does not have, of the kinds that it has a sub-folder of.",
    )


def read_documents(options: Mapping[str, Any]) -> dict[str, list[Document]]:
    """Return the documents of the folder. Raises InvalidConfiguration, CommandError."""
    if not options["folder"].is_dir():
        raise CommandError(f"There is no folder {options['folder']}.")
    return read_folder(options["folder"], FOLDERS)


def print_counts(out: OutputWrapper, plan: Plan) -> None:
    """Print a line for every object that stays though the folder does not have it, and the counts."""
    for leftover in plan.leftovers:
        out.write(f"unmanaged: {leftover.path}{f' ({leftover.reason})' if leftover.reason else ''}")
    counts = [f"{plan.count(action):,} {action}" for action in ("created", "changed", "deleted")]
    out.write(f"{', '.join(counts)}, {len(plan.leftovers):,} unmanaged")
