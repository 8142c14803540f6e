"""Questions that staff confirm before campaigns start or end for many: what would happen, and to whom."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import QuerySet

from campaigns.journeys.definition.parser import Definition
from campaigns.journeys.definition.steps import CallWebhookStep, SendStep
from campaigns.journeys.definition.triggers import (
    DateTrigger,
    EventTrigger,
    ManualTrigger,
    ScheduleTrigger,
    Trigger,
)
from campaigns.journeys.definition_checks import check_definition
from campaigns.models import Campaign, Enrollment, Message, Template
from config.errors import DomainError
from contacts.admin import concerned_contacts
from contacts.models import Contact
from segments.admin import concerned_members
from segments.models import Segment
from workspaces.staff.columns import utc
from workspaces.staff.confirmation import SAMPLES, AffectedRows, Question
from workspaces.staff.links import link

_RUNNING = (Campaign.Status.ACTIVE, Campaign.Status.PAUSED)


def activation_question(campaigns: QuerySet[Campaign]) -> Question | None:
    """Return the question before an activation; None if the draft is invalid, as the service will say."""
    happens: list[str] = []
    concerned: list[AffectedRows] = []
    faults = 0
    chosen = list(campaigns)
    for campaign in chosen:
        try:
            definition = check_definition(campaign.workspace_id, campaign.draft)
        except DomainError as error:
            faults += 1
            happens.append(f"{campaign} cannot be activated: {error.sentence}")
            continue
        happens.append(f"{campaign} starts {_joined(_trigger_summaries(campaign, definition))}.")
        happens.append(f"{campaign} {_step_summary(campaign.workspace_id, definition)}.")
        concerned += [
            concerned_members(campaign.workspace_id, item.segment_id)
            for item in definition.triggers
            if isinstance(item, ScheduleTrigger)
        ]
    if faults == len(chosen):
        return None
    return Question(
        _title("Activate", chosen), "Activate", happens, [*concerned, *_enrolled_contacts(chosen)]
    )


def resumption_question(campaigns: QuerySet[Campaign]) -> Question | None:
    """Return the question before campaigns are resumed; None if none is paused."""
    paused = list(campaigns.filter(status=Campaign.Status.PAUSED))
    if not paused:
        return None
    happens = [
        "Enrollments go on where they stand; what was due since the pause leaves at once, and new ones start again.",
        *_active_summaries(paused),
    ]
    return Question(_title("Resume", paused), "Resume", happens, _enrolled_contacts(paused))


def finish_question(campaigns: QuerySet[Campaign]) -> Question | None:
    """Return the question before campaigns are finished; None if none has started."""
    running = list(campaigns.filter(status__in=_RUNNING))
    if not running:
        return None
    happens = ["Nothing starts any more; enrollments under way go on to their end."]
    return Question(_title("Finish", running), "Finish", happens, _enrolled_contacts(running))


def archive_question(campaigns: QuerySet[Campaign]) -> Question | None:
    """Return the question before campaigns are archived; None if all are."""
    open_campaigns = list(campaigns.exclude(status=Campaign.Status.ARCHIVED))
    if not open_campaigns:
        return None
    happens = [
        "Nothing starts any more, broadcasts that are planned do not begin, and all enrollments under way end."
    ]
    return Question(
        _title("Archive", open_campaigns),
        "Archive",
        happens,
        _enrolled_contacts(open_campaigns),
        is_final=True,
    )


def start_question(campaign: Campaign, contact_id: UUID, *, is_trial: bool) -> Question | None:
    """Return the question before a start for one contact; None if the campaign cannot start."""
    if is_trial:
        title, button, raw = f"Try {campaign} out for a contact", "Try the draft", campaign.draft
        happens = ["A trial is counted nowhere, but what it sends and changes is sent and changed."]
    elif campaign.status == Campaign.Status.ACTIVE and campaign.active_version is not None:
        title, button, raw = f"Start {campaign} for a contact", "Start", campaign.active_version.definition
        happens = []
    else:
        return None
    try:
        definition = check_definition(campaign.workspace_id, raw)
    except DomainError:
        return None
    happens.append(f"{campaign} {_step_summary(campaign.workspace_id, definition)}.")
    contacts = Contact.objects.in_workspace(campaign.workspace_id).filter(pk=contact_id)
    return Question(title, button, happens, [concerned_contacts(contacts)])


def broadcast_question(campaign: Campaign, segment_id: UUID, at: datetime | None) -> Question | None:
    """Return the question before a start for a segment; None if the campaign cannot start."""
    if campaign.status != Campaign.Status.ACTIVE:
        return None
    when = f"at {utc(at)} UTC" if at else "at once"
    happens = [
        f"{campaign} starts {when} for everybody who is in the segment then.",
        *_active_summaries([campaign]),
    ]
    concerned = [concerned_members(campaign.workspace_id, segment_id)]
    return Question(f"Start {campaign} for a segment", "Start for the segment", happens, concerned)


def sending_question(messages: QuerySet[Message]) -> Question:
    """Return the question before messages of unknown outcome are sent again."""
    rows = [
        [link("campaigns_message_change", item.pk, item.subject or item.get_channel_display()), item.address]
        for item in messages[:SAMPLES]
    ]
    concerned = AffectedRows(
        messages.order_by().count(), "message", ["Message", "Address"], rows, model=Message
    )
    happens = ["Nobody knows whether they left. Those that did reach their receivers a second time."]
    return Question("Send messages again", "Send again", happens, [concerned], is_final=True)


def _title(verb: str, campaigns: Sequence[Campaign]) -> str:
    return f"{verb} {campaigns[0]}" if len(campaigns) == 1 else f"{verb} {len(campaigns)} campaigns"


def _trigger_summaries(campaign: Campaign, definition: Definition) -> Iterator[str]:
    ids = [item.segment_id for item in definition.triggers if isinstance(item, ScheduleTrigger)]
    names = dict(
        Segment.objects.in_workspace(campaign.workspace_id).filter(pk__in=ids).values_list("pk", "name")
    )
    return (_trigger_summary(item, names) for item in definition.triggers)


def _trigger_summary(trigger: Trigger, segments: dict[UUID, str]) -> str:
    match trigger:
        case EventTrigger():
            return f"with the event {trigger.event_name}"
        case DateTrigger():
            return f"by the contact's {trigger.attribute}"
        case ScheduleTrigger():
            when = f"at {utc(trigger.at)} UTC" if trigger.at else "at once"
            return f"{when} for everybody in {segments.get(trigger.segment_id, 'a segment')}"
        case ManualTrigger():
            return "for whom somebody chooses"


def _active_summaries(campaigns: Sequence[Campaign]) -> Iterator[str]:
    """Yield what the serving version of each campaign does, in words."""
    for campaign in campaigns:
        if campaign.active_version is None:
            continue
        try:
            definition = check_definition(campaign.workspace_id, campaign.active_version.definition)
        except DomainError:
            continue
        yield f"{campaign} {_step_summary(campaign.workspace_id, definition)}."


def _step_summary(workspace_id: UUID, definition: Definition) -> str:
    """Return what a campaign sends and calls, in words."""
    steps = [node.step for node in definition.nodes.values()]
    templates = Template.objects.in_workspace(workspace_id).filter(pk__in=definition.template_ids)
    names = dict(templates.values_list("pk", "name"))
    sends = [
        f"{item.channel} “{names.get(item.template_id, item.template_id)}”"
        for item in steps
        if isinstance(item, SendStep)
    ]
    calls = sum(isinstance(item, CallWebhookStep) for item in steps)
    words = [f"sends {_joined(sends)}"] if sends else []
    words += [f"calls {calls} webhook{'' if calls == 1 else 's'}"] if calls else []
    return " and ".join(words) or "sends nothing"


def _joined(words: Sequence[str] | Iterator[str]) -> str:
    *leading, last = dict.fromkeys(words) or ["never"]
    return f"{', '.join(leading)} and {last}" if leading else last


def _enrolled_contacts(campaigns: Sequence[Campaign]) -> list[AffectedRows]:
    """Return the contacts with an open enrollment in one of the campaigns, by workspace."""
    found = []
    for workspace_id in {item.workspace_id for item in campaigns}:
        enrollments = Enrollment.objects.in_workspace(workspace_id).open().filter(campaign__in=campaigns)
        contacts = Contact.objects.in_workspace(workspace_id).filter(pk__in=enrollments.values("contact_id"))
        found.append(concerned_contacts(contacts, note="with an open enrollment"))
    return found
