"""What was decided, read back."""

from collections.abc import Iterable
from heapq import nlargest
from itertools import chain
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef

from campaigns.models import Campaign, CampaignSet, Decision
from campaigns.models.enrollments import DecisionQuerySet


def newest_decisions(campaign: Campaign, rows: DecisionQuerySet, count: int) -> list[Decision]:
    """Return the newest of some decisions that are about a campaign, alone or with others.

    Of each set of campaigns the newest are looked up apart: an index has them in their order, however many there are.
    """
    sets = CampaignSet.objects.in_workspace(campaign.workspace_id).containing(campaign.id)
    of_set = rows.filter(campaign_set=OuterRef("pk")).order_by("-id").values("id")[:count]
    found = sets.annotate(newest=ArraySubquery(of_set)).values_list("newest", flat=True)
    shared = rows.filter(id__in=nlargest(count, chain.from_iterable(found))).select_related("campaign_set")
    own = rows.filter(campaign_id=campaign.id).select_related("campaign_set").order_by("-id")[:count]
    return nlargest(count, [*own, *shared], key=lambda decision: decision.id)


def campaign_names(workspace_id: UUID, ids: Iterable[UUID]) -> dict[UUID, str]:
    """Return the names of campaigns that there still are."""
    campaigns = Campaign.objects.in_workspace(workspace_id).filter(id__in=set(ids))
    return dict(campaigns.values_list("id", "name"))
