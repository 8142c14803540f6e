"""Status changes of campaigns: by a button on a campaign's page, or as an action for many in the list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from campaigns.admin.confirmations import (
    activation_question,
    archive_question,
    finish_question,
    resumption_question,
)
from campaigns.journeys.lifecycle import (
    activate_campaign,
    archive_campaign,
    finish_campaign,
    pause_campaign,
    resume_campaign,
)
from campaigns.models import Campaign
from config.errors import DomainError
from workspaces.staff.confirmation import Question, ask

_ACTIVE, _PAUSED, _ARCHIVED = Campaign.Status.ACTIVE, Campaign.Status.PAUSED, Campaign.Status.ARCHIVED


@dataclass(frozen=True, slots=True)
class StatusChange:
    """A change of a campaign's status; `question` is what has to be confirmed before, None: nothing."""

    name: str
    done: str
    service: Callable[[UUID, Campaign], Campaign]
    question: Callable[[QuerySet[Campaign]], Question | None] | None
    words: str
    """The hint of the button."""
    label: str
    """The action's name in the list."""

    def apply(self, campaign: Campaign, actor: str) -> None:
        """Change the status of a campaign. Raises DomainError."""
        if self.service is activate_campaign:
            activate_campaign(campaign.workspace_id, campaign, actor=actor)
        else:
            self.service(campaign.workspace_id, campaign)


_ACTIVATE = StatusChange(
    "activate",
    "activated",
    activate_campaign,
    activation_question,
    "Make the draft the active version",
    "Activate the draft",
)
_PAUSE = StatusChange(
    "pause",
    "paused",
    pause_campaign,
    None,
    "Start nothing; open enrollments stay where they are",
    "Pause",
)
_RESUME = StatusChange(
    "resume", "resumed", resume_campaign, resumption_question, "Continue after the pause", "Resume"
)
_FINISH = StatusChange(
    "finish",
    "finished",
    finish_campaign,
    finish_question,
    "Start nothing more; open enrollments go on to their end",
    "Finish: start nothing more",
)
_ARCHIVE = StatusChange(
    "archive",
    "archived",
    archive_campaign,
    archive_question,
    "End all its enrollments, for good",
    "Archive: end all enrollments",
)
STATUS_CHANGES = {change.name: change for change in (_ACTIVATE, _PAUSE, _RESUME, _FINISH, _ARCHIVE)}


def available_changes(campaign: Campaign) -> list[StatusChange]:
    """Return the changes that a campaign's status and draft allow."""
    if campaign.status == _ARCHIVED:
        return []
    changes = []
    is_newer = campaign.active_version is None or campaign.active_version.definition != campaign.draft
    if campaign.status not in (_ACTIVE, _PAUSED) or is_newer or campaign.parked_at:
        changes.append(_ACTIVATE)
    if campaign.status == _ACTIVE:
        changes.append(_PAUSE)
    if campaign.status == _PAUSED:
        changes.append(_RESUME)
    if campaign.status in (_ACTIVE, _PAUSED):
        changes.append(_FINISH)
    return [*changes, _ARCHIVE]


def list_action(change: StatusChange) -> Callable[..., HttpResponse | None]:
    """Return a change as an action of the admin's list, which counts what it did and shows each refusal."""

    def act(model_admin: Any, request: HttpRequest, queryset: QuerySet[Campaign]) -> HttpResponse | None:
        question = change.question and partial(change.question, queryset)
        if question and (page := ask(request, model_admin, question)) is not None:
            return page
        done = 0
        for campaign in queryset:
            try:
                change.apply(campaign, str(request.user))
                done += 1
            except DomainError as error:
                messages.error(request, f"{campaign}: {error.sentence}")
        if done:
            messages.success(request, f"{done} campaign{'' if done == 1 else 's'} {change.done}.")
        return None

    act.__name__ = change.name
    return admin.action(description=change.label, permissions=["change_status"])(act)
