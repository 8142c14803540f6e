"""Which campaigns name something that somebody wants to delete."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from campaigns.models import Broadcast, Campaign, CampaignVersion
from config.ids import parse_uuid


def campaigns_naming_segment(workspace_id: UUID, segment_id: UUID) -> list[str]:
    """Return the campaigns, but for archived ones, whose draft, serving version or broadcast names a segment."""
    campaigns = Campaign.objects.in_workspace(workspace_id).exclude(status=Campaign.Status.ARCHIVED)
    versions = CampaignVersion.objects.in_workspace(workspace_id).filter(
        campaign__in=campaigns, retired_at=None
    )
    definitions = [
        *campaigns.values_list("name", "draft"),
        *versions.values_list("campaign__name", "definition"),
    ]
    broadcasts = Broadcast.objects.in_workspace(workspace_id).filter(segment_id=segment_id, finished_at=None)
    found = {name for name, raw in definitions if segment_id in set(_segment_ids(raw))}
    return sorted(found.union(broadcasts.values_list("campaign__name", flat=True)))


def _segment_ids(raw: Any) -> Iterator[UUID | None]:
    """Yield the segments that a definition names, also where it cannot be read any more."""
    if isinstance(raw, list):
        for item in raw:
            yield from _segment_ids(item)
    elif isinstance(raw, Mapping):
        yield parse_uuid(raw.get("segmentId"))
        for item in raw.values():
            yield from _segment_ids(item)
