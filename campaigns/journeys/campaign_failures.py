"""Failures of campaigns: one whose rule fails keeps its error and enrolls nobody until it is activated again."""

from datetime import datetime
from uuid import UUID

from campaigns.models import Campaign
from config.db.errors import storable_error


def park_campaign(workspace_id: UUID, campaign_id: UUID, error: Exception, now: datetime) -> None:
    """Park a campaign. Its open enrollments continue as far as they can."""
    campaigns = Campaign.objects.in_workspace(workspace_id).filter(id=campaign_id, parked_at=None)
    campaigns.update(parked_at=now, error=storable_error(error))
