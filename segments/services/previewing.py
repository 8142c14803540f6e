"""What a rule would say, before it serves: how many, who, and why."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from segments.models import Segment


@dataclass(frozen=True, slots=True)
class Preview:
    """How many contacts a rule holds for.

    Exact up to PREVIEW_CONTACTS contacts (50,000) judged within PREVIEW_SECONDS (5); else `count` is an estimate
    from `judged` contacts, drawn at random from `total`, right to `margin` in 19 of 20 cases.
    """

    count: int
    total: int
    judged: int
    is_estimate: bool
    margin: int
    samples: list[UUID]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class ImpactSample:
    """A contact that would enter, leave or stay, and why: the tree of explain_contact by the new rule."""

    contact_id: UUID
    tree: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Impact:
    """How many contacts a rule would let in, put out and keep; `is_estimate` and the rest as in Preview."""

    enter: int
    leave: int
    stay: int
    total: int
    judged: int
    is_estimate: bool
    margin: int
    entering: list[ImpactSample]
    leaving: list[ImpactSample]
    staying: list[ImpactSample]
    warnings: list[str]


def preview_rule(workspace_id: UUID, raw: object, *, samples: int = 10) -> Preview:
    """Try out a rule that is not saved. Raises InvalidCondition, PreviewTooSlow."""
    raise NotImplementedError


def impact_of(workspace_id: UUID, raw: object, segment: Segment, *, samples: int = 5) -> Impact:
    """Hold a rule that is not saved against what serves. Raises InvalidCondition, PreviewTooSlow, SegmentIsStatic."""
    raise NotImplementedError


def impact_of_draft(workspace_id: UUID, segment: Segment, *, samples: int = 5) -> Impact:
    """Hold the built draft against what serves: always exact. Raises SegmentHasNoDraft, SegmentNotBuilt."""
    raise NotImplementedError
