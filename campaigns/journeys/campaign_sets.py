"""Campaign sets: campaigns that reject the same candidate for the same reason share one decision."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID, uuid5

from django.db import transaction

from config.db.arrays import array
from config.db.statements import execute


@dataclass(frozen=True, slots=True, eq=False)
class CampaignGroup:
    """Campaigns that share a decision; `set_id`: of their CampaignSet, None for a single one.

    Compared by identity: made once and shared by many rejections.
    """

    ids: list[UUID]
    set_id: UUID | None


def campaign_group(workspace_id: UUID, campaign_ids: Sequence[UUID]) -> CampaignGroup:
    """Return a group of campaigns; its set id depends on the campaigns alone."""
    if len(campaign_ids) == 1:
        return CampaignGroup(list(campaign_ids), None)
    in_order = sorted(campaign_ids)
    return CampaignGroup(in_order, uuid5(workspace_id, ",".join(map(str, in_order))))


_MAX_SAVED_SET_IDS: Final = 100_000
_saved_set_ids: set[UUID] = set()
"""Ids of campaign sets known to be stored, cached per process."""


def save_campaign_sets(workspace_id: UUID, found: Collection[CampaignGroup]) -> None:
    """Insert campaign sets that may not be stored yet."""
    new_sets = {
        group.set_id: group.ids for group in found if group.set_id and group.set_id not in _saved_set_ids
    }
    if new_sets:
        in_order = sorted(new_sets)
        campaign_ids = [array(new_sets[id_]) for id_ in in_order]
        execute(_INSERT_CAMPAIGN_SETS, [workspace_id, array(in_order), array(campaign_ids)])
        transaction.on_commit(partial(_mark_saved, list(new_sets)))


_INSERT_CAMPAIGN_SETS: Final = """
INSERT INTO campaigns_campaignset (id, workspace_id, campaign_ids)
SELECT id, %s::uuid, campaign_ids::uuid[] FROM unnest(%s::uuid[], %s::text[]) AS w (id, campaign_ids)
ON CONFLICT DO NOTHING
"""


def _mark_saved(set_ids: Sequence[UUID]) -> None:
    if len(_saved_set_ids) > _MAX_SAVED_SET_IDS:
        _saved_set_ids.clear()
    _saved_set_ids.update(set_ids)
