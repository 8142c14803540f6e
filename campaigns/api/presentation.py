"""How campaigns and what they did look in the native format, from a fixed number of statements for any number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, time
from uuid import UUID

from campaigns.messaging.public_links import public_url
from campaigns.models import (
    ChannelSettings,
    Decision,
    Enrollment,
    Form,
    FormSubmission,
    Message,
    Suppression,
)
from campaigns.reasons import reason_of_message
from config.http.rendering import iso_millis
from contacts.api.presentation import Row, briefs
from contacts.identity.lookup import ids_of
from contacts.models import Contact
from workspaces.models import Workspace

ROWS_OF_A_CONTACT = 50
OfContact = Enrollment | Decision | Message | FormSubmission


# Messages ----


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
