"""The options that choose a command's segments."""

from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from typing import Any

from django.core.management.base import CommandError

from config.ids import NO_ID, parse_uuid
from segments.models import Segment
from workspaces.management.selection import add_workspaces, chosen_workspaces
from workspaces.models import Workspace


def add_selection(parser: ArgumentParser) -> None:
    """Declare --workspace and --segment."""
    add_workspaces(parser)
    parser.add_argument(
        "--segment",
        action="append",
        default=[],
        help="The id of a segment, as often as you like; by default all.",
    )


def chosen_segments(options: Mapping[str, Any]) -> Iterator[tuple[Workspace, list[Segment]]]:
    """Yield each workspace with the segments that were chosen, in the order of their names. Raises CommandError."""
    segments = Segment.objects.order_by("name")
    if options["segment"]:
        wanted = {parse_uuid(text) or NO_ID for text in options["segment"]}
        segments = segments.filter(id__in=wanted)
        if segments.count() < len(wanted):
            raise CommandError("There is no such segment.")
    for workspace in chosen_workspaces(options):
        if own := list(segments.in_workspace(workspace.id)):
            yield workspace, own
