"""Read the decisions about a campaign. Each is made where it falls, as a `NewDecision`."""

from collections.abc import Iterable
from heapq import nlargest
from itertools import chain
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef

from campaigns.models import Campaign, CampaignSet, Decision
from campaigns.models.enrollments import DecisionQuerySet


def newest_decisions(campaign: Campaign, rows: DecisionQuerySet, count: int) -> list[Decision]:
    """Return the newest `count` of the decisions `rows` about a campaign, shared ones included.

    Each campaign set is looked up on its own, by an index in the order of ids.
    """
    sets = CampaignSet.objects.in_workspace(campaign.workspace_id).containing(campaign.id)
    of_set = rows.filter(campaign_set=OuterRef("pk")).order_by("-id").values("id")[:count]
    found = sets.annotate(newest=ArraySubquery(of_set)).values_list("newest", flat=True)
    shared = rows.filter(id__in=nlargest(count, chain.from_iterable(found))).select_related("campaign_set")
    own = rows.filter(campaign_id=campaign.id).select_related("campaign_set").order_by("-id")[:count]
    return nlargest(count, [*own, *shared], key=lambda decision: decision.id)


def campaign_names(workspace_id: UUID, ids: Iterable[UUID]) -> dict[UUID, str]:
    """Return the names of campaigns by id; deleted ones are left out."""
    campaigns = Campaign.objects.in_workspace(workspace_id).filter(id__in=set(ids))
    return dict(campaigns.values_list("id", "name"))
