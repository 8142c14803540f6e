"""Pages of rows by key, newest first, and what an address names."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from campaigns.errors import CampaignNotFound
from campaigns.models import Campaign
from config.ids import NO_ID, parse_uuid
from contacts.errors import ContactNotFound
from contacts.models import Contact
from events.models import Event
from workspaces.api.strict import integer_parameter, text_parameter
from workspaces.models import Workspace

MAX_LIMIT = 200
PAGE_PARAMETERS = [
    OpenApiParameter("limit", int, description=f"1 to {MAX_LIMIT}, 50 by default"),
    OpenApiParameter("before", str, description="page by key: `next` of the page before"),
]


def _newest(rows: QuerySet[Any], count: int) -> list[Any]:
    return list(rows.order_by("-id")[:count])


def page_of(
    request: Request, rows: QuerySet[Any], newest: Callable[[Any, int], list[Any]] = _newest
) -> tuple[list[Any], str | None]:
    """Return a page of rows, the newest first, and the key of the next one. Raises ValidationError.

    `newest` gives so many of the rows, where an order by id would be slow.
    """
    limit = integer_parameter(request, "limit", 50, highest=MAX_LIMIT)
    text = text_parameter(request, "before")
    before = parse_uuid(text)
    if text is not None and before is None:
        raise ValidationError({"before": ["Must be the `next` of a page."]})
    if before is not None:
        rows = rows.filter(id__lt=before)
    found = newest(rows, limit + 1)
    return found[:limit], str(found[limit - 1].id) if len(found) > limit else None


def campaign_of(workspace: Workspace, text: str) -> Campaign:
    """Return the campaign that an id of the address means, with its version. Raises CampaignNotFound."""
    campaigns = Campaign.objects.in_workspace(workspace.id).select_related("version")
    campaign = campaigns.filter(id=parse_uuid(text) or NO_ID).first()
    if campaign is None:
        raise CampaignNotFound
    return campaign


def contact_of(workspace: Workspace, text: str) -> UUID:
    """Return the id of the contact that an id means, as it reads now. Raises ContactNotFound."""
    contacts = Contact.objects.in_workspace(workspace.id).filter(id=parse_uuid(text) or NO_ID)
    row = contacts.values_list("id", "merged_into_id").first()
    if row is None:
        raise ContactNotFound
    own, survivor = row
    return survivor or own


def event_of(workspace: Workspace, text: str | None) -> Event | None:
    """Return the event that a body names, None if it names none. Raises ValidationError."""
    if text is None:
        return None
    event = Event.objects.filter(workspace_id=workspace.id, id=parse_uuid(text) or NO_ID).first()
    if event is None:
        raise ValidationError({"eventId": ["There is no such event."]})
    return event
