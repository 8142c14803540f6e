"""Campaigns, contacts and events by the ids of addresses and bodies."""

from uuid import UUID

from rest_framework.exceptions import ValidationError

from campaigns.errors import CampaignNotFound
from campaigns.models import Campaign
from config.ids import NO_ID, parse_uuid
from contacts.errors import ContactNotFound
from contacts.models import Contact
from events.models import Event


def find_campaign(workspace_id: UUID, text: str) -> Campaign:
    """Return the campaign with an id, with its version. Raises CampaignNotFound, also for what is no id."""
    campaigns = Campaign.objects.in_workspace(workspace_id).select_related("active_version")
    campaign = campaigns.filter(id=parse_uuid(text) or NO_ID).first()
    if campaign is None:
        raise CampaignNotFound
    return campaign


def find_contact_id(workspace_id: UUID, text: str) -> UUID:
    """Return the id of the canonical contact of an id. Raises ContactNotFound, also for what is no id."""
    contacts = Contact.objects.in_workspace(workspace_id).filter(id=parse_uuid(text) or NO_ID)
    row = contacts.values_list("id", "merged_into_id").first()
    if row is None:
        raise ContactNotFound
    own, survivor = row
    return survivor or own


def find_event(workspace_id: UUID, text: str | None) -> Event | None:
    """Return the event that a body names as `eventId`, None if it names none. Raises ValidationError."""
    if text is None:
        return None
    event = Event.objects.in_workspace(workspace_id).filter(id=parse_uuid(text) or NO_ID).first()
    if event is None:
        raise ValidationError({"eventId": ["There is no such event."]})
    return event
