"""Submissions: what a visitor answers becomes a contact, an event and a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from campaigns.errors import InvalidSubmission
from campaigns.forms.answers import attributes_of, check_answers, identities_of, mapped_answers, name_of
from campaigns.forms.confirmations import hold_consents, is_pending, needs_confirmation, send_confirmation
from campaigns.forms.fields import TRAP
from campaigns.models import Form, FormSubmission
from config import ids
from config.errors import DomainError
from contacts.crud import get_contact
from contacts.errors import PersonErased
from contacts.identifiers import normalize_all
from contacts.identity.lookup import find
from contacts.models import Consent
from contacts.profiles.schema import check_attributes, load_schema
from contacts.profiles.state import differ
from contacts.references import ContactChanges, ContactReference
from events.names import FORM_SUBMITTED
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy


@dataclass(frozen=True, slots=True)
class Submitted:
    """The result of a submission; `submission` is None where nothing was kept, which visitors do not learn."""

    form: Form
    id: UUID
    submission: FormSubmission | None = None


def submit_form(form: Form, answers: Mapping[str, Any], *, page_url: str = "", now: datetime) -> Submitted:
    """Record a submission: find or create the contact, record `form.submitted`. Raises InvalidSubmission.

    Nobody has checked who the visitor is. Of somebody known the answers say only what was not known; they lift no
    opt-out, and overwrite nothing, before the link of the e-mail is followed.
    Answers of a machine that walked into the trap, and of somebody who was erased, are not kept.
    """
    submission_id = ids.uuid7(now)
    if answers.get(TRAP):
        return Submitted(form, submission_id)
    checked = check_answers(form, answers)
    try:
        with transaction.atomic():
            submission = _record(form, submission_id, checked, page_url, now)
    except PersonErased:
        return Submitted(form, submission_id)
    except DomainError as error:
        raise InvalidSubmission({"body": [error.message]}) from error
    return Submitted(form, submission_id, submission)


def _record(
    form: Form, submission_id: UUID, answers: Mapping[str, Any], page_url: str, now: datetime
) -> FormSubmission:
    incoming = IncomingEvent(
        FORM_SUBMITTED,
        _reference(form, answers),
        properties={
            **answers,
            "formId": str(form.pk),
            "formName": form.name,
            "submissionId": str(submission_id),
        },
        context={"pageUrl": page_url} if page_url else {},
    )
    is_new = not find(
        form.workspace_id, (), normalize_all(identities_of(mapped_answers(form, answers))[:1])
    ).by_identifier
    (outcome,) = record_events(
        form.workspace_id, [incoming], schema_policy=SchemaPolicy.OPEN, source="system"
    )
    event = outcome.recorded()
    assert event.survivor_id is not None  # noqa: S101  (the event has a contact)
    submission = FormSubmission.objects.create(
        id=submission_id,
        workspace_id=form.workspace_id,
        form=form,
        contact_id=event.survivor_id,
        event_id=event.id,
        answers=dict(answers),
        held={} if form.on_known == Form.OnKnown.FILL_IN else _differing(form, event.survivor_id, answers),
        created_at=now,
    )
    if form.double_opt_in and (is_new or is_pending(form.workspace_id, event.survivor_id)):
        hold_consents(form, event.survivor_id, now)
    if form.confirmation_template is not None and needs_confirmation(form, submission, now):
        send_confirmation(form, submission, event.occurred_at, now)
    return submission


def _differing(form: Form, contact_id: UUID, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return names and attributes of answers that differ from the contact's; identifiers are left out."""
    contact = get_contact(form.workspace_id, contact_id)
    known = {"firstName": contact.first_name, "lastName": contact.last_name}
    mapped = mapped_answers(form, answers)
    names = {name: name_of(mapped[name]) for name in known if name in mapped}
    schema = load_schema(form.workspace_id)
    attributes = attributes_of(mapped)
    attributes.pop(schema.identity_field, None)
    checked = check_attributes(schema, attributes) if attributes else {}
    differing: dict[str, Any] = {name: value for name, value in names.items() if value != known[name]}
    if attributes_changed := {
        name: value for name, value in checked.items() if differ(contact.attributes.get(name), value)
    }:
        differing["attributes"] = attributes_changed
    return differing


def _reference(form: Form, answers: Mapping[str, Any]) -> ContactReference:
    """Return the contact reference of answers: found by the first identity, else a new contact with all of them.

    A visitor says who they are, and nobody checks it: so whom the first one finds gets no second one by it, and of
    the rest what is not known yet.
    """
    mapped = mapped_answers(form, answers)
    identities, attributes = identities_of(mapped), attributes_of(mapped)
    schema = load_schema(form.workspace_id)
    opted_in = {} if form.double_opt_in else dict.fromkeys(form.consents, Consent.Status.OPTED_IN)
    return ContactReference(
        identifiers=identities[:1],
        if_missing="create",
        update_matched=True,
        fills_in=True,
        changes=ContactChanges(
            first_name=name_of(mapped.get("firstName")),
            last_name=name_of(mapped.get("lastName")),
            attributes=check_attributes(schema, attributes) if attributes else {},
            identifiers=identities[1:],
            consents={channel: str(status) for channel, status in opted_in.items()},
        ),
    )
