"""The impact of a plan: whom a changed segment lets in, what a scoring rule matches, what a campaign goes on with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final
from uuid import UUID

from campaigns.configuration.kinds import wanted_rule
from campaigns.configuration.plans import Change
from campaigns.errors import InvalidDefinition
from campaigns.journeys.definition.parser import parse_definition
from campaigns.journeys.definition.triggers import ScheduleTrigger
from campaigns.messaging.templates import users_of
from campaigns.models import Campaign, Enrollment, Template
from config.files.documents import is_same
from config.http.rendering import iso_millis
from events.errors import InvalidCondition
from scoring.models import ScoringRule
from scoring.preview import preview_rule as preview_scoring_rule
from segments.errors import PreviewTooSlow
from segments.memberships import count_members
from segments.models import Segment
from segments.preview import Impact, Preview, impact_of, preview_rule


def describe_impact(workspace_id: UUID, change: Change) -> list[str]:
    """Return what a change does to contacts, in sentences, as the workspace is now; a few seconds a segment at most.

    What depends on objects that the plan creates first cannot be said before they are there.
    """
    describe = _DESCRIPTIONS.get(change.kind.folder)
    if describe is None:
        return []
    try:
        return list(describe(workspace_id, change))
    except InvalidCondition:
        return ["Whom it concerns is known once the segments that it builds on are there."]
    except PreviewTooSlow as error:
        return [error.sentence]


def _of_segment(workspace_id: UUID, change: Change) -> Iterator[str]:
    row: Segment = change.row
    if change.action == "deleted":
        members = count_members(workspace_id, [row])[row.id]
        yield f"{_counted(members, 'contact')} would no longer be in a segment of this name."
    elif row.is_static:
        return
    elif change.before is None:
        found = preview_rule(workspace_id, wanted_rule(row), samples=0)
        yield f"{_counted(found.count, 'contact')} of {found.total:,} would enter{_margin(found)}."
    elif not is_same(wanted_rule(row), wanted_rule(change.before.row)):
        impact = impact_of(workspace_id, wanted_rule(row), change.before.row, samples=0)
        moves = f"{_counted(impact.enter, 'contact')} would enter, {impact.leave:,} leave and {impact.stay:,} stay"
        yield f"{moves}{_margin(impact)}."
        if row.starts_campaigns:
            yield "Who enters or leaves may start campaigns."


def _of_scoring_rule(workspace_id: UUID, change: Change) -> Iterator[str]:
    if change.action == "deleted":
        yield "What it has earned stays, and goes on to decay."
        return
    row: ScoringRule = change.row
    found = preview_scoring_rule(row)
    yield (
        f"It matches {found.matches:,} of the latest {found.events:,} events since {iso_millis(found.since)},"
        f" of {_counted(found.contacts, 'contact')}."
    )
    if row.is_rescoring:
        yield "What it gives is calculated again for every contact, in the background."


def _of_campaign(workspace_id: UUID, change: Change) -> Iterator[str]:
    row: Campaign = change.row
    enrollments = (
        Enrollment.objects.in_workspace(workspace_id).open().filter(campaign_id=row.id, is_test=False)
    )
    open_ones = _counted(enrollments.count(), "open enrollment")
    version = row.active_version
    if change.action == "deleted":
        yield f"It would be archived, and {open_ones} end." if version else "It was never active."
        return
    standing: Campaign | None = change.before.row if change.before is not None else None
    old = standing.active_version if standing is not None else None
    if old is not None and standing is not None and standing.status != row.status:
        yield f"It is {standing.get_status_display()} now, and would be active again."
    if version is not None and (old is None or old.id != version.id):
        yield f"Version {version.number} would serve; {open_ones} would keep the version of before."
        yield from _broadcasts(row)
    elif version is not None:
        yield f"Version {version.number} goes on to serve, with {open_ones}."
    else:
        yield "Only a draft: nothing starts."


def _broadcasts(campaign: Campaign) -> Iterator[str]:
    try:
        triggers = parse_definition(campaign.draft).triggers
    except InvalidDefinition:
        return
    for trigger in triggers:
        if isinstance(trigger, ScheduleTrigger):
            yield f"It goes to a whole segment {f'at {iso_millis(trigger.at)}' if trigger.at else 'at once'}."


def _of_template(workspace_id: UUID, change: Change) -> Iterator[str]:
    row: Template = change.row
    if change.action == "changed" and (users := users_of(row)):
        yield f"It is sent by: {', '.join(users)}."


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _margin(found: Preview | Impact) -> str:
    return f" (estimated from {found.judged:,} contacts, ± {found.margin:,})" if found.is_estimate else ""


_DESCRIPTIONS: Final[dict[str, Callable[[UUID, Change], Iterator[str]]]] = {
    "templates": _of_template,
    "segments": _of_segment,
    "scoring-rules": _of_scoring_rule,
    "campaigns": _of_campaign,
}
