"""Segments made, changed, published and deleted, so that no event falls between the old rule and the new."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from events.rules import Rule
from segments.models import Segment
from workspaces.models import Workspace


def get_segment(workspace_id: UUID, segment_id: UUID) -> Segment:
    """Return a segment. Raises SegmentNotFound."""
    raise NotImplementedError


def create_segment(
    workspace: Workspace,
    *,
    name: str,
    description: str = "",
    evaluation: str = Segment.Evaluation.DYNAMIC,
    raw: Mapping[str, Any] | None = None,
    starts_campaigns: bool = False,
    publish: bool = True,
) -> Segment:
    """Make a segment; one with a rule is built in the background, and published then unless `publish` is False.

    Raises InvalidCondition, InvalidSegmentName, SegmentExists, SegmentIsStatic.
    """
    raise NotImplementedError


def update_segment(
    workspace: Workspace,
    segment: Segment,
    *,
    name: str | None = None,
    description: str | None = None,
    raw: Mapping[str, Any] | None = None,
    starts_campaigns: bool | None = None,
    publish: bool = True,
) -> Segment:
    """Set what is not None. Another rule becomes the draft, is built, and is published then if `publish` says so.

    Until then the old rule serves. Raises InvalidCondition, InvalidSegmentName, SegmentExists, SegmentIsStatic.
    """
    raise NotImplementedError


def publish_segment(workspace: Workspace, segment: Segment) -> Segment:
    """Swap the built draft in. Raises SegmentHasNoDraft, SegmentNotBuilt."""
    raise NotImplementedError


def discard_draft(workspace: Workspace, segment: Segment) -> Segment:
    """Drop the draft, built or not; what serves goes on. Raises SegmentHasNoDraft."""
    raise NotImplementedError


def rebuild_segment(workspace: Workspace, segment: Segment) -> Segment:
    """Build the rule anew: the draft's where there is one, else that which serves, and publish as that said.

    A parked segment serves again once this is published. Raises SegmentIsStatic.
    """
    raise NotImplementedError


def delete_segment(workspace: Workspace, segment: Segment) -> None:
    """Delete a segment; its memberships and stays go in the background. Raises SegmentInUse."""
    raise NotImplementedError


def check_rule(workspace_id: UUID, raw: object, segment: Segment | None = None) -> Rule:
    """Read a rule of a segment, saved or not. Raises InvalidCondition: unknown segments and cycles too."""
    raise NotImplementedError


def warnings(workspace_id: UUID, raw: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each thing that a valid rule speaks of and that was never seen."""
    raise NotImplementedError
