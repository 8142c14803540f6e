"""Double opt-in: the e-mail that asks, and what following its link confirms."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from campaigns.messaging.public_links import public_url, read_token, token_for
from campaigns.messaging.queue import EnqueuedMessage, MessageRequest, enqueue_message
from campaigns.models import Form, FormSubmission, Message, PendingConsent
from campaigns.models.messages import Channel
from config.db.statements import execute
from config.ids import parse_uuid
from contacts.crud import get_contact, set_consent, update_contact
from contacts.errors import ContactNotFound
from contacts.models import Consent
from contacts.profiles.schema import check_attributes, load_schema
from contacts.references import ContactChanges
from events.models import Event
from events.names import FORM_SUBMITTED

_CONFIRM: Final = "form-confirmation"


def pending_confirmation(token: str) -> FormSubmission | None:
    """Return the submission that a confirmation link is for; None for a forged link or a deleted submission."""
    parts = read_token(_CONFIRM, token)
    submission_id = parse_uuid(parts[0]) if parts else None
    if submission_id is None:
        return None
    return FormSubmission.objects.select_related("form").filter(pk=submission_id).first()


@transaction.atomic
def confirm_submission(submission: FormSubmission, *, now: datetime) -> bool:
    """Confirm a submission: opt in, and apply the answers that were held; return whether that is new.

    Raises ContactNotFound, also where the contact has another address by now than the one that the e-mail went to:
    whoever reads that proves nothing of it.
    """
    form = submission.form
    contact = get_contact(form.workspace_id, submission.contact_id)
    messages = Message.objects.in_workspace(form.workspace_id)
    email = messages.filter(key=_confirmation_key(submission)).first()
    if email is not None and email.address != contact.email:
        raise ContactNotFound
    own = FormSubmission.objects.in_workspace(submission.workspace_id).filter(
        pk=submission.pk, confirmed_at=None
    )
    if not own.update(confirmed_at=now):
        return False
    # One e-mail asks for all that the person sent while it was open.
    same_request = _unconfirmed(submission).filter(form__double_opt_in=True, held={})
    same_request.filter(form__consents__contained_by=_held_channels(form)).update(confirmed_at=now)
    if submission.held:
        # Of this submission alone: other answers may be of somebody else, and the e-mail did not ask about them.
        contact = update_contact(form.workspace_id, contact, _held_changes(submission))
    for channel in form.consents:
        set_consent(form.workspace_id, contact, channel, Consent.Status.OPTED_IN)
    PendingConsent.objects.in_workspace(form.workspace_id).filter(
        contact_id=submission.contact_id, channel__in=_held_channels(form)
    ).delete()
    return True


def _unconfirmed(submission: FormSubmission) -> QuerySet[FormSubmission]:
    """Return unconfirmed submissions of the same contact."""
    return FormSubmission.objects.in_workspace(submission.workspace_id).filter(
        contact_id=submission.contact_id, confirmed_at=None
    )


def _held_changes(submission: FormSubmission) -> ContactChanges:
    held = submission.held
    schema = load_schema(submission.workspace_id)
    attributes = held.get("attributes", {})
    return ContactChanges(
        first_name=held.get("firstName"),
        last_name=held.get("lastName"),
        attributes=check_attributes(schema, attributes) if attributes else {},
    )


def _held_channels(form: Form) -> list[str]:
    """Return the channels that are held until a form is confirmed: at least e-mail, which the link proves."""
    return form.consents or [Consent.Channel.EMAIL.value]


def is_pending(workspace_id: UUID, contact_id: UUID) -> bool:
    """Whether a contact has an open double opt-in."""
    return PendingConsent.objects.in_workspace(workspace_id).filter(contact_id=contact_id).exists()


def hold_consents(form: Form, contact_id: UUID, now: datetime) -> None:
    """Hold the form's channels of a new contact until the submission is confirmed."""
    PendingConsent.objects.bulk_create(
        [
            PendingConsent(
                workspace_id=form.workspace_id, contact_id=contact_id, channel=channel, created_at=now
            )
            for channel in _held_channels(form)
        ],
        ignore_conflicts=True,
    )


def needs_confirmation(form: Form, submission: FormSubmission, now: datetime) -> bool:
    """Whether a confirmation e-mail is needed, and none is open that asks for the same.

    Whatever is to be overwritten has an e-mail of its own form, one at a time.
    """
    # Two that are sent at once would each find none.
    execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('confirmation ' || %s || %s, 0))",
        [str(form.workspace_id), str(submission.contact_id)],
    )
    since = now - timedelta(seconds=settings.CONFIRMATION_SECONDS)
    pending = list(_unconfirmed(submission).filter(asked_at__gt=since).select_related("form"))
    if submission.held and not any(submitted.form_id == form.pk for submitted in pending):
        return True
    is_open = any(set(form.consents) <= set(_held_channels(submitted.form)) for submitted in pending)
    contact = get_contact(form.workspace_id, submission.contact_id)
    consents = [contact.consent(channel) for channel in form.consents]
    if not form.double_opt_in:
        return not is_open and Consent.Status.OPTED_OUT in consents
    return not is_open and (not consents or any(status != Consent.Status.OPTED_IN for status in consents))


def _confirmation_key(submission: FormSubmission) -> str:
    return f"form:{submission.pk.hex}"


def send_confirmation(form: Form, submission: FormSubmission, occurred_at: datetime, now: datetime) -> None:
    """Send the confirmation e-mail; its link is in no other place."""
    link = public_url(f"/forms/confirm/{token_for(_CONFIRM, submission.pk.hex)}")
    event = Event(
        id=submission.event_id,
        workspace_id=form.workspace_id,
        name=FORM_SUBMITTED,
        properties={**submission.answers, "formId": str(form.pk), "formName": form.name, "confirmUrl": link},
        occurred_at=occurred_at,
    )
    template = form.confirmation_template
    assert template is not None  # noqa: S101  # the caller looked
    request = MessageRequest(
        submission.contact_id,
        Channel.EMAIL,
        template,
        _confirmation_key(submission),
        event=event,
        is_transactional=True,
    )
    outcome = enqueue_message(form.workspace_id, request, now=now)
    if isinstance(outcome, EnqueuedMessage):
        submission.asked_at = now
        submission.save(update_fields=["asked_at"])
