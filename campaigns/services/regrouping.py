"""Runs of contacts that were merged, parted or deleted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from campaigns.errors import InvalidDefinition
from campaigns.models import Run
from campaigns.reasons import Reason
from campaigns.services.noticing import end_runs, person_ids
from campaigns.services.plans import definition_of
from config.lookups import one_of


def settle_regrouped(workspace_id: UUID, survivors: Collection[UUID], now: datetime) -> int:
    """End the younger of two runs by which one person is in one campaign. Returns how many ended."""
    ended = 0
    for ids in person_ids(workspace_id, survivors).values():
        if len(ids) > 1:
            runs = (
                Run.objects.in_workspace(workspace_id).open().filter(one_of("contact_id", ids), is_test=False)
            )
            doubles = {run.id: None for run in doubles_among(runs.select_related("version"))}
            ended += len(
                end_runs(workspace_id, doubles, status=Run.Status.EXITED, reason=Reason.MERGED, now=now)
            )
    return ended


def doubles_among(runs: Iterable[Run]) -> list[Run]:
    """Return those of one person's open runs beside which an older one is in the same campaign, as it may not be."""
    alike: dict[tuple[UUID, str], list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda one: (one.started_at, one.id)):
        mode = _mode_of(run)
        key = run.key if mode in ("every", "key") else mode
        alike[run.campaign_id, key].append(run)
    return [run for same in alike.values() for run in same[1:]]


def _mode_of(run: Run) -> str:
    try:
        return definition_of(run.version).reentry.mode
    except InvalidDefinition:
        # It goes nowhere any more: whoever takes it on ends it.
        return "every"


def end_runs_of_gone(workspace_id: UUID, contact_ids: Sequence[UUID], now: datetime) -> int:
    """End the runs of contacts that are deleted. Returns how many."""
    runs = Run.objects.in_workspace(workspace_id).open().filter(one_of("contact_id", contact_ids))
    events = dict.fromkeys(runs.values_list("id", flat=True))
    return len(end_runs(workspace_id, events, status=Run.Status.EXITED, reason=Reason.ERASED, now=now))
