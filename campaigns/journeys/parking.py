"""Campaigns that fail: set aside with their error; they start nothing until they are mended."""

from datetime import datetime
from uuid import UUID

from campaigns.models import Campaign

_MAX_ERROR_LENGTH = 10_000


def park_campaign(workspace_id: UUID, campaign_id: UUID, error: Exception, now: datetime) -> None:
    """Park a campaign; what is under way in it goes on as far as it can."""
    # PostgreSQL takes no NUL in a text, and an error may quote one.
    text = f"{type(error).__name__}: {error}".replace("\x00", "")[:_MAX_ERROR_LENGTH]
    campaigns = Campaign.objects.in_workspace(workspace_id).filter(id=campaign_id, parked_at=None)
    campaigns.update(parked_at=now, error=text)
