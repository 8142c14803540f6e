"""How campaigns and what they did look in the native format, from a fixed number of statements for any number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, time
from itertools import chain
from typing import Any
from uuid import UUID

from campaigns.journeys.decisions import campaign_names
from campaigns.journeys.lifecycle import open_enrollment_counts
from campaigns.journeys.warnings import campaign_warnings, rule_warnings
from campaigns.messaging.public_links import public_url
from campaigns.models import (
    Broadcast,
    Campaign,
    CampaignVersion,
    ChannelSettings,
    Decision,
    Enrollment,
    Form,
    FormSubmission,
    Message,
    Suppression,
)
from campaigns.reasons import reason_of_message
from campaigns.reporting.counters import campaign_counts
from campaigns.reporting.report import CampaignReport, MessageCounts, StepCount
from campaigns.reporting.trace import Trace
from config.http.rendering import iso_millis
from contacts.api.presentation import Row, briefs
from contacts.identity.lookup import ids_of
from contacts.models import Contact
from events.models import Event
from workspaces.api.strict import json_number
from workspaces.models import Workspace

ROWS_OF_A_CONTACT = 50
OfContact = Enrollment | Decision | Message | FormSubmission
_DEFAULTS: dict[str, Any] = {
    "triggers": [],
    "reentry": None,
    "workflow": {"nodes": [], "edges": []},
    "goal": None,
    "exits": [],
    "includesHistory": False,
}
DEFINITION_KEYS = tuple(_DEFAULTS)


# Campaigns ---------------------------------------------------------------------------------------------------


def campaign_rows(workspace_id: UUID, campaigns: Sequence[Campaign]) -> list[Row]:
    """Return campaigns that came with their `version`; one statement for the counts of all, one for their templates,
    and some for each that has rules, of which the warnings tell."""
    counts = campaign_counts(workspace_id, campaigns)
    warnings = campaign_warnings(workspace_id, campaigns)
    return [
        {
            **_campaign(campaign, *counts[campaign.id]),
            "warnings": [*warnings[campaign.id], *rule_warnings(campaign)],
        }
        for campaign in campaigns
    ]


def campaign_row(campaign: Campaign) -> Row:
    """Return one campaign."""
    (row,) = campaign_rows(campaign.workspace_id, [campaign])
    return row


def version_rows(campaign: Campaign, versions: Sequence[CampaignVersion]) -> list[Row]:
    """Return versions of a campaign; one statement for the open enrollments of all."""
    enrollments = open_enrollment_counts(campaign.workspace_id, [version.id for version in versions])
    return [
        {
            "id": str(version.id),
            "version": version.number,
            "serves": version.id == campaign.version_id,
            "createdAt": iso_millis(version.created_at),
            "by": version.actor or None,
            "retiredAt": _moment(version.retired_at),
            "openRuns": enrollments.get(version.id, 0),
            "definition": {
                name: version.definition.get(name, default) for name, default in _DEFAULTS.items()
            },
        }
        for version in versions
    ]


def broadcast_row(broadcast: Broadcast) -> Row:
    """Return a broadcast."""
    listed = broadcast.contact_ids
    return {
        "id": str(broadcast.id),
        "segmentId": _id(broadcast.segment_id),
        "contacts": None if listed is None else len(listed),
        "at": iso_millis(broadcast.due_at),
        "taken": broadcast.processed_count,
        "finishedAt": _moment(broadcast.finished_at),
        "cancelledAt": _moment(broadcast.cancelled_at),
        "changes": broadcast.changes,
        "createdAt": iso_millis(broadcast.created_at),
    }


def report(found: CampaignReport) -> Row:
    """Return what became of a campaign."""
    return {
        "entered": found.entered,
        "notEntered": found.not_entered,
        "runs": {status.upper(): count for status, count in found.enrollments.items()},
        "ended": found.ended,
        "messages": {channel.upper(): _counts(counts) for channel, counts in found.messages.items()},
        "notSent": found.not_sent,
        "deferred": found.deferred,
        "steps": [_step(step) for step in found.steps],
    }


def _campaign(campaign: Campaign, enrollments: int, messages: int) -> Row:
    draft, version = campaign.draft or {}, campaign.version
    return {
        "id": str(campaign.id),
        "name": campaign.name,
        "description": campaign.description,
        "type": campaign.type,
        "status": campaign.status,
        "priority": campaign.priority,
        "sender": campaign.sender,
        "replyTo": campaign.reply_to,
        **{name: draft.get(name, default) for name, default in _DEFAULTS.items()},
        "version": version and version.number,
        "hasChanges": version is None or version.definition != draft,
        "error": campaign.error or None,
        "startAt": _moment(campaign.starts_at),
        "endAt": _moment(campaign.ends_at),
        "activatedAt": _moment(campaign.activated_at),
        "createdAt": iso_millis(campaign.created_at),
        "updatedAt": iso_millis(campaign.updated_at),
        "_count": {"enrollments": enrollments, "messages": messages},
    }


def _counts(counts: MessageCounts) -> Row:
    return {
        "total": counts.total,
        "byStatus": counts.by_status,
        "opened": counts.opened,
        "clicked": counts.clicked,
    }


def _step(step: StepCount) -> Row:
    return {
        "step": step.step,
        "kind": step.kind.upper(),
        "reason": step.reason or None,
        "handle": step.handle or None,
        "count": step.count,
    }


# Enrollments, decisions, messages -----------------------------------------------------------------------------------


def enrollment_rows(workspace_id: UUID, enrollments: Sequence[Enrollment]) -> list[Row]:
    """Return enrollments that came with their `version`; one statement for the contacts of all."""
    contacts = _People(workspace_id, enrollments)
    return [_enrollment(enrollment, contacts.of(enrollment)) for enrollment in enrollments]


def decision_rows(workspace_id: UUID, decisions: Sequence[Decision]) -> list[Row]:
    """Return decisions that came with their `campaign_set`; one statement for the campaigns, one for the contacts."""
    contacts = _People(workspace_id, decisions)
    names = campaign_names(workspace_id, chain.from_iterable(one.campaign_ids for one in decisions))
    return [_decision(decision, contacts.of(decision), names) for decision in decisions]


def message_rows(workspace_id: UUID, messages: Sequence[Message]) -> list[Row]:
    """Return messages as the list shows them; one statement for the contacts of all."""
    contacts = _People(workspace_id, messages)
    return [_message(message, contacts.of(message)) for message in messages]


def message_row(message: Message) -> Row:
    """Return one message with what it says."""
    (row,) = message_rows(message.workspace_id, [message])
    return {
        **row,
        "body": message.body,
        "text": message.text,
        "headers": message.headers,
        "providerId": message.provider_id or None,
    }


class _People:
    """The contacts of some rows, as they read now; of a deleted one the id is what is left."""

    def __init__(self, workspace_id: UUID, rows: Iterable[OfContact]) -> None:
        self._found = briefs(workspace_id, {row.contact_id for row in rows})

    def of(self, row: OfContact) -> Row:
        nobody = {"id": str(row.contact_id), "email": None, "firstName": None, "lastName": None}
        return self._found.get(row.contact_id, nobody)


def _enrollment(enrollment: Enrollment, contact: Row) -> Row:
    return {
        "id": str(enrollment.id),
        "campaignId": str(enrollment.campaign_id),
        "version": enrollment.version.number,
        "contact": contact,
        "status": enrollment.status.upper(),
        "eventId": _id(enrollment.event_id),
        "step": enrollment.step or None,
        "wakeAt": _moment(enrollment.wake_at),
        "awaits": enrollment.awaited_event or None,
        "startedAt": iso_millis(enrollment.started_at),
        "endedAt": _moment(enrollment.ended_at),
        "endReason": enrollment.end_reason or None,
        "isTest": enrollment.is_test,
        "error": enrollment.error or None,
    }


def _decision(decision: Decision, contact: Row, names: dict[UUID, str]) -> Row:
    return {
        "id": str(decision.id),
        "kind": decision.kind.upper(),
        "reason": decision.reason or None,
        "detail": decision.detail,
        "step": decision.step or None,
        "campaigns": [{"id": str(one), "name": names.get(one)} for one in decision.campaign_ids],
        "contact": contact,
        "runId": _id(decision.enrollment_id),
        "messageId": _id(decision.message_id),
        "eventId": _id(decision.event_id),
        "decidedAt": iso_millis(decision.decided_at),
    }


def _message(message: Message, contact: Row) -> Row:
    return {
        "id": str(message.id),
        "channel": message.channel.upper(),
        "status": message.status,
        "contact": contact,
        "to": message.address,
        "subject": message.subject,
        "campaignId": _id(message.campaign_id),
        "runId": _id(message.enrollment_id),
        "eventId": _id(message.event_id),
        "step": message.step or None,
        "templateId": _id(message.template_id),
        "isTransactional": message.is_transactional,
        "isTest": message.is_test,
        "priority": message.priority,
        "attempts": message.attempts,
        "reason": reason_of_message(message.status, message.error),
        "error": message.error or None,
        "sendAt": iso_millis(message.send_at),
        "createdAt": iso_millis(message.created_at),
        "sentAt": _moment(message.sent_at),
        "openedAt": _moment(message.opened_at),
        "clickedAt": _moment(message.clicked_at),
    }


# Permission --------------------------------------------------------------------------------------------------


def suppression_row(suppression: Suppression) -> Row:
    """Return an address to which nothing is sent."""
    return {
        "id": str(suppression.id),
        "channel": suppression.channel.upper(),
        "address": suppression.address,
        "reason": suppression.reason.upper(),
        "note": suppression.note,
        "messageId": _id(suppression.message_id),
        "createdAt": iso_millis(suppression.created_at),
    }


def channel_row(settings: ChannelSettings) -> Row:
    """Return how a channel is used, but for its secret."""
    has_cap, has_quiet_hours = settings.cap_count is not None, settings.quiet_from is not None
    return {
        "channel": settings.channel.upper(),
        "sender": settings.sender,
        "hasSecret": bool(settings.secret),
        "options": settings.options,
        "requiresOptIn": settings.requires_opt_in,
        "frequencyCap": {"count": settings.cap_count, "hours": settings.cap_hours} if has_cap else None,
        "quietHours": {"start": _clock(settings.quiet_from), "end": _clock(settings.quiet_until)}
        if has_quiet_hours
        else None,
        "timeZone": settings.time_zone,
        "onUnknown": settings.on_unknown.upper(),
        "maxAttempts": settings.max_attempts,
    }


# Forms -------------------------------------------------------------------------------------------------------


def form_row(form: Form, submissions: int) -> Row:
    """Return a form."""
    return {
        "id": str(form.id),
        "name": form.name,
        "fields": form.fields,
        "active": form.active,
        "allowedOrigins": form.allowed_origins,
        "consents": [channel.upper() for channel in form.consents],
        "doubleOptIn": form.double_opt_in,
        "confirmationTemplateId": _id(form.confirmation_template_id),
        "redirectUrl": form.redirect_url,
        "onKnown": form.on_known.upper(),
        "submitUrl": public_url(f"/api/forms/{form.id}/submit"),
        "createdAt": iso_millis(form.created_at),
        "updatedAt": iso_millis(form.updated_at),
        "_count": {"submissions": submissions},
    }


def submission_rows(workspace_id: UUID, submissions: Sequence[FormSubmission]) -> list[Row]:
    """Return what a form was sent; one statement for the contacts of all."""
    contacts = _People(workspace_id, submissions)
    return [
        {
            "id": str(submission.id),
            "contact": contacts.of(submission),
            "eventId": str(submission.event_id),
            "answers": submission.answers,
            "confirmedAt": _moment(submission.confirmed_at),
            "createdAt": iso_millis(submission.created_at),
        }
        for submission in submissions
    ]


# Traces ------------------------------------------------------------------------------------------------------


def trace(found: Trace) -> Row:
    """Return what an event caused."""
    event = found.event
    workspace_id = event.workspace_id
    people = briefs(workspace_id, [found.contact_id] if found.contact_id else [])
    return {
        "id": str(event.id),
        "type": event.name,
        "timestamp": iso_millis(event.occurred_at),
        "receivedAt": iso_millis(event.received_at),
        "schema": {
            "definitionId": _id(found.schema.definition_id),
            "isDeclared": found.schema.is_declared,
            "problems": found.schema.problems,
        },
        "contact": {
            "resolved": found.resolved.upper(),
            "cameWith": _id(event.contact_id),
            "contact": people.get(found.contact_id) if found.contact_id else None,
        },
        "effects": {
            "state": found.state.upper(),
            "parked": [
                {
                    "effect": parked.effect,
                    "subject": parked.subject,
                    "error": parked.error,
                    "at": iso_millis(parked.created_at),
                }
                for parked in found.parked
            ],
        },
        "scores": [
            {
                "rule": {"id": str(entry.rule_id), "name": rule or None},
                "points": json_number(entry.points),
                "counts": not entry.is_superseded,
                "at": iso_millis(entry.created_at),
            }
            for entry, rule in found.scores
        ],
        "segments": [_move(one) for one in found.derived_events if one.name in _MOVES],
        "consequences": [_consequence(one) for one in found.derived_events],
        "runs": enrollment_rows(workspace_id, found.enrollments),
        "decisions": decision_rows(workspace_id, found.decisions),
        "messages": message_rows(workspace_id, found.messages),
    }


_MOVES = ("segment.entered", "segment.exited")


def _move(event: Event) -> Row:
    named = event.properties
    return {
        "segment": {"id": named.get("segmentId"), "name": named.get("segmentName")},
        "entered": event.name == "segment.entered",
        "eventId": str(event.id),
        "at": iso_millis(event.occurred_at),
    }


def _consequence(event: Event) -> Row:
    return {
        "id": str(event.id),
        "type": event.name,
        "metadata": event.properties,
        "causeId": str(event.cause_id),
        "timestamp": iso_millis(event.occurred_at),
        "recordedAt": iso_millis(event.received_at),
    }


# Contacts ----------------------------------------------------------------------------------------------------


def recent_messages(workspace: Workspace, contact: Contact) -> list[Row]:
    """Return what a contact's answer shows of its messages."""
    ids = ids_of(workspace.id, contact.id)
    messages = Message.objects.in_workspace(workspace.id).filter(contact_id__in=ids).order_by("-id")
    return [
        {
            name: value
            for name, value in _message(message, {}).items()
            if name in ("id", "channel", "status", "to", "subject", "campaignId", "createdAt", "sentAt")
        }
        for message in messages[:ROWS_OF_A_CONTACT]
    ]


def recent_enrollments(workspace: Workspace, contact: Contact) -> list[Row]:
    """Return what a contact's answer shows of the campaigns that it went through."""
    ids = ids_of(workspace.id, contact.id)
    enrollments = (
        Enrollment.objects.in_workspace(workspace.id).filter(contact_id__in=ids).select_related("campaign")
    )
    return [
        {
            "id": str(enrollment.campaign_id),
            "name": enrollment.campaign.name,
            "runId": str(enrollment.id),
            "status": enrollment.status.upper(),
            "startedAt": iso_millis(enrollment.started_at),
            "endedAt": _moment(enrollment.ended_at),
            "endReason": enrollment.end_reason or None,
        }
        for enrollment in enrollments.order_by("-id")[:ROWS_OF_A_CONTACT]
    ]


def _id(identifier: UUID | None) -> str | None:
    return str(identifier) if identifier else None


def _moment(moment: datetime | None) -> str | None:
    return iso_millis(moment) if moment else None


def _clock(moment: time | None) -> str | None:
    return f"{moment:%H:%M}" if moment else None
