"""Forms: their fields, submissions from public pages, and double opt-in."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from campaigns.errors import FormExists, FormNotFound, InvalidForm, InvalidSubmission
from campaigns.messaging.public_links import public_url, read_token, token_for
from campaigns.messaging.queue import EnqueuedMessage, MessageRequest, enqueue_message
from campaigns.models import Form, FormSubmission, Message, PendingConsent, Template
from campaigns.models.messages import Channel
from config import clock, ids
from config.db.statements import execute
from config.errors import DomainError
from config.ids import parse_uuid
from config.values.endpoints import canonical_url
from contacts.crud import get_contact, set_consent, update_contact
from contacts.errors import ContactNotFound, PersonErased
from contacts.identifiers import normalize_all, normalize_identifier
from contacts.identity.lookup import find
from contacts.models import Consent, Identifier
from contacts.profiles.schema import check_attributes, load_schema
from contacts.profiles.state import differ
from contacts.references import ContactChanges, ContactReference
from events.models import Event
from events.names import FORM_SUBMITTED
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from workspaces.origins import InvalidOrigin, parse_origins

TYPES: Final = ("text", "email", "phone", "number", "checkbox", "select")
TRAP: Final = "_website"
"""Honeypot: a hidden field that only machines fill in."""
MAX_FIELDS: Final = 100
MAX_ANSWER: Final = 5_000
_MAX_WORD: Final = 255
_MAX_OPTIONS: Final = 500
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", re.ASCII)
_CONFIRM: Final = "form-confirmation"
_IDENTITIES: Final = {"email": Identifier.EMAIL, "phone": Identifier.PHONE}
_OWN_NAMES: Final = ("email", "phone", "firstName", "lastName")
_ATTRIBUTE: Final = "attributes."
_FIELD_KEYS: Final = frozenset({"name", "label", "type", "required", "options", "mapsTo", "maps_to"})


@dataclass(frozen=True, slots=True)
class FormField:
    """A field of a form, and where its answer goes."""

    name: str
    type: str = "text"
    label: str = ""
    required: bool = False
    options: tuple[str, ...] = ()
    # email, phone, firstName, lastName or attributes.<name>; "": the answer is in the event only.
    maps_to: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """The result of a submission; `submission` is None where nothing was kept, which visitors do not learn."""

    form: Form
    id: UUID
    submission: FormSubmission | None = None


@dataclass(frozen=True, slots=True)
class FormValues:
    """Values of a form to set; None leaves a value as it is."""

    name: str | None = None
    fields: Sequence[Mapping[str, Any]] | None = None
    active: bool | None = None
    allowed_origins: Sequence[str] | None = None
    consents: Sequence[str] | None = None
    double_opt_in: bool | None = None
    # The template's id; "" takes it away.
    confirmation_template: str | None = None
    redirect_url: str | None = None
    on_known: str | None = None


def create_form(workspace_id: UUID, values: FormValues) -> Form:
    """Create a form. Raises InvalidForm, FormExists."""
    return _save(Form(workspace_id=workspace_id), values)


def update_form(workspace_id: UUID, form: Form, values: FormValues) -> Form:
    """Change a form. Raises InvalidForm, FormExists."""
    form = find_form(workspace_id, form.pk)
    form.updated_at = clock.now()
    return _save(form, values)


def delete_form(workspace_id: UUID, form: Form) -> None:
    """Delete a form with its submissions; the events stay."""
    Form.objects.in_workspace(workspace_id).filter(pk=form.pk).delete()


def find_form(workspace_id: UUID, form_id: UUID | None) -> Form:
    """Return a form of the workspace. Raises FormNotFound."""
    form = Form.objects.in_workspace(workspace_id).filter(pk=form_id).first() if form_id else None
    if form is None:
        raise FormNotFound
    return form


def public_form(text: str) -> Form:
    """Return an active form by its published id. Raises FormNotFound."""
    form_id = parse_uuid(text)
    forms = Form.objects.select_related("confirmation_template")
    form = forms.filter(pk=form_id, active=True).first() if form_id else None
    if form is None:
        raise FormNotFound
    return form


def fields_of(form: Form) -> list[FormField]:
    """Return the fields of a form. Raises InvalidForm."""
    return read_fields(form.fields)


def read_fields(raw: object) -> list[FormField]:
    """Parse the fields of a form. Raises InvalidForm, which names the first invalid one."""
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not 0 < len(raw) <= MAX_FIELDS:
        raise InvalidForm("fields", f"Must be a list of 1 to {MAX_FIELDS} fields")
    fields = [_read_field(f"fields.{place}", field) for place, field in enumerate(raw)]
    names = [field.name for field in fields]
    if len(set(names)) < len(names):
        raise InvalidForm("fields", "Two fields have the same name")
    if not any(field.maps_to in _IDENTITIES and field.required for field in fields):
        raise InvalidForm(
            "fields", "One required field must map to email or phone: it says whose answers they are"
        )
    return fields


def submit_form(form: Form, answers: Mapping[str, Any], *, page_url: str = "", now: datetime) -> Submitted:
    """Record a submission: find or create the contact, record `form.submitted`. Raises InvalidSubmission.

    Nobody has checked who the visitor is. Of somebody known the answers say only what was not known; they lift no
    opt-out, and overwrite nothing, before the link of the e-mail is followed.
    Answers of a machine that walked into the trap, and of somebody who was erased, are not kept.
    """
    submission_id = ids.uuid7(now)
    if answers.get(TRAP):
        return Submitted(form, submission_id)
    checked = _check_answers(form, answers)
    try:
        with transaction.atomic():
            submission = _record(form, submission_id, checked, page_url, now)
    except PersonErased:
        return Submitted(form, submission_id)
    except DomainError as error:
        raise InvalidSubmission({"body": [error.message]}) from error
    return Submitted(form, submission_id, submission)


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


def _save(form: Form, values: FormValues) -> Form:
    for name, check in _CHECKS.items():
        given = getattr(values, name)
        if given is not None:
            setattr(form, name, check(given))
    if values.confirmation_template is not None:
        form.confirmation_template = _template(form.workspace_id, values.confirmation_template)
    if not form.fields:
        raise InvalidForm("fields", "This is required")
    if not form.name:
        raise InvalidForm("name", "This is required")
    if form.confirmation_template is None:
        if form.double_opt_in:
            raise InvalidForm("confirmationTemplateId", "Double opt-in needs a template for the e-mail")
        if form.on_known == Form.OnKnown.CONFIRM:
            raise InvalidForm(
                "confirmationTemplateId", "To overwrite needs a template for the e-mail that asks"
            )
    try:
        with transaction.atomic():
            form.save()
    except IntegrityError as error:
        raise FormExists from error
    return form


def _template(workspace_id: UUID, text: str) -> Template | None:
    if not text:
        return None
    found = Template.objects.in_workspace(workspace_id).filter(
        channel=Channel.EMAIL, pk=parse_uuid(text) or ids.NO_ID
    )
    template = found.first()
    if template is None:
        raise InvalidForm("confirmationTemplateId", "There is no such e-mail template")
    return template


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not 0 < len(name.strip()) <= _MAX_WORD or "\x00" in name:
        raise InvalidForm("name", f"Must be a text of at most {_MAX_WORD} characters")
    return name.strip()


def _checked_fields(raw: object) -> list[dict[str, Any]]:
    return [
        {
            "name": field.name,
            "label": field.label,
            "type": field.type,
            "required": field.required,
            "options": list(field.options),
            "mapsTo": field.maps_to,
        }
        for field in read_fields(raw)
    ]


def _checked_origins(origins: Sequence[str]) -> list[str]:
    try:
        return parse_origins(origins)
    except InvalidOrigin as error:
        raise InvalidForm(
            "allowedOrigins", 'Each must be an origin, such as "https://example.com"'
        ) from error


def _checked_consents(channels: Sequence[str]) -> list[str]:
    wanted = [str(channel).lower() for channel in channels]
    if not set(wanted) <= set(Consent.Channel.values):
        raise InvalidForm("consents", f"Each must be one of {', '.join(Consent.Channel.values)}")
    return list(dict.fromkeys(wanted))


def _checked_redirect(url: str) -> str:
    if url and canonical_url(url) is None:
        raise InvalidForm("redirectUrl", "Must be an address of http or https")
    return url


def _checked_on_known(choice: object) -> str:
    if choice not in Form.OnKnown.values:
        raise InvalidForm("onKnown", f"Must be one of {', '.join(Form.OnKnown.values)}")
    return str(choice)


def _unchanged(value: bool) -> bool:
    return value


_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "name": _checked_name,
    "fields": _checked_fields,
    "active": _unchanged,
    "allowed_origins": _checked_origins,
    "consents": _checked_consents,
    "double_opt_in": _unchanged,
    "redirect_url": _checked_redirect,
    "on_known": _checked_on_known,
}


def _read_field(path: str, raw: object) -> FormField:
    if not isinstance(raw, Mapping):
        raise InvalidForm(path, "Must be an object")
    if unknown := sorted(set(map(str, raw)) - _FIELD_KEYS):
        raise InvalidForm(f"{path}.{unknown[0]}", "This key is not known")
    if not isinstance(raw.get("required") or False, bool):
        raise InvalidForm(f"{path}.required", "Must be true or false")
    name, type_ = raw.get("name"), raw.get("type", "text")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == TRAP:
        raise InvalidForm(f"{path}.name", "Must begin with a letter and have letters, digits, _ . - only")
    if type_ not in TYPES:
        raise InvalidForm(f"{path}.type", f"Must be one of {', '.join(TYPES)}")
    maps_to = raw.get("mapsTo", raw.get("maps_to"))
    maps_to = (type_ if type_ in _IDENTITIES else "") if maps_to is None else maps_to
    if not _is_target(maps_to):
        raise InvalidForm(f"{path}.mapsTo", f"Must be one of {', '.join(_OWN_NAMES)}, or attributes.<name>")
    options = raw.get("options") or ()
    if (
        not isinstance(options, list | tuple)
        or len(options) > _MAX_OPTIONS
        or not all(map(_is_word, options))
    ):
        raise InvalidForm(f"{path}.options", f"Must be a list of at most {_MAX_OPTIONS} texts")
    if type_ == "select" and not options:
        raise InvalidForm(f"{path}.options", "This is required")
    label = raw.get("label") or name
    if not _is_word(label):
        raise InvalidForm(f"{path}.label", f"Must be a text of at most {_MAX_WORD} characters")
    return FormField(name, type_, label, bool(raw.get("required")), tuple(options), maps_to)


def _is_target(maps_to: object) -> bool:
    return isinstance(maps_to, str) and (
        maps_to in ("", *_OWN_NAMES)
        or (
            maps_to.startswith(_ATTRIBUTE)
            and 0 < len(maps_to) - len(_ATTRIBUTE) <= 64
            and "\x00" not in maps_to
        )
    )


def _is_word(text: object) -> bool:
    return isinstance(text, str) and len(text) <= _MAX_WORD and "\x00" not in text


def _check_answers(form: Form, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Validate answers by the form's fields; unknown ones are left out. Raises InvalidSubmission."""
    checked: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    for field in fields_of(form):
        try:
            value = _READERS[field.type](field, answers.get(field.name))
        except ValueError as error:
            errors[field.name] = [str(error)]
            continue
        if value is not None:
            checked[field.name] = value
        elif field.required:
            errors[field.name] = ["This field is required."]
    if errors:
        raise InvalidSubmission(errors)
    return checked


def _text(field: FormField, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ANSWER or "\x00" in value or _has_surrogates(value):
        raise ValueError(f"Must be a text of at most {MAX_ANSWER} characters.")
    return value.strip() or None


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _identity(field: FormField, value: object) -> str | None:
    text = _text(field, value)
    if text is not None and normalize_identifier(_IDENTITIES[field.type], text) is None:
        raise ValueError("Must be an e-mail address." if field.type == "email" else "Must be a phone number.")
    return text


def _number(field: FormField, value: object) -> float | int | None:
    if value is None or value == "":
        return None
    try:
        number = (
            float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        )
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("Must be a number.")
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _checkbox(field: FormField, value: object) -> bool | None:
    is_on = value in (True, "on", "true", "1", 1)
    if not is_on and value not in (None, False, "", "off", "false", "0", 0):
        raise ValueError("Must be true or false.")
    # A box that has to be ticked and is not is no answer.
    return None if field.required and not is_on else is_on


def _choice(field: FormField, value: object) -> str | None:
    text = _text(field, value)
    if text is not None and text not in field.options:
        raise ValueError("Must be one of the options.")
    return text


_READERS: Final[Mapping[str, Callable[[FormField, Any], Any]]] = {
    "text": _text,
    "email": _identity,
    "phone": _identity,
    "number": _number,
    "checkbox": _checkbox,
    "select": _choice,
}


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
        form.workspace_id, (), normalize_all(_identities(_mapped_answers(form, answers))[:1])
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
    if form.double_opt_in and (is_new or _is_pending(form.workspace_id, event.survivor_id)):
        _hold_consents(form, event.survivor_id, now)
    if form.confirmation_template is not None and _needs_confirmation(form, submission, now):
        _send_confirmation(form, submission, event.occurred_at, now)
    return submission


def _differing(form: Form, contact_id: UUID, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return names and attributes of answers that differ from the contact's; identifiers are left out."""
    contact = get_contact(form.workspace_id, contact_id)
    known = {"firstName": contact.first_name, "lastName": contact.last_name}
    mapped = _mapped_answers(form, answers)
    names = {name: _name(mapped[name]) for name in known if name in mapped}
    schema = load_schema(form.workspace_id)
    attributes = _attributes(mapped)
    attributes.pop(schema.identity_field, None)
    checked = check_attributes(schema, attributes) if attributes else {}
    differing: dict[str, Any] = {name: value for name, value in names.items() if value != known[name]}
    if attributes_changed := {
        name: value for name, value in checked.items() if differ(contact.attributes.get(name), value)
    }:
        differing["attributes"] = attributes_changed
    return differing


def _is_pending(workspace_id: UUID, contact_id: UUID) -> bool:
    """Whether a contact has an open double opt-in."""
    return PendingConsent.objects.in_workspace(workspace_id).filter(contact_id=contact_id).exists()


def _hold_consents(form: Form, contact_id: UUID, now: datetime) -> None:
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


def _needs_confirmation(form: Form, submission: FormSubmission, now: datetime) -> bool:
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


def _reference(form: Form, answers: Mapping[str, Any]) -> ContactReference:
    """Return the contact reference of answers: found by the first identity, else a new contact with all of them.

    A visitor says who they are, and nobody checks it: so whom the first one finds gets no second one by it, and of
    the rest what is not known yet.
    """
    mapped = _mapped_answers(form, answers)
    identities, attributes = _identities(mapped), _attributes(mapped)
    schema = load_schema(form.workspace_id)
    opted_in = {} if form.double_opt_in else dict.fromkeys(form.consents, Consent.Status.OPTED_IN)
    return ContactReference(
        identifiers=identities[:1],
        if_missing="create",
        update_matched=True,
        fills_in=True,
        changes=ContactChanges(
            first_name=_name(mapped.get("firstName")),
            last_name=_name(mapped.get("lastName")),
            attributes=check_attributes(schema, attributes) if attributes else {},
            identifiers=identities[1:],
            consents={channel: str(status) for channel, status in opted_in.items()},
        ),
    )


def _mapped_answers(form: Form, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return answers by the contact field that they map to."""
    return {
        field.maps_to: answers[field.name]
        for field in fields_of(form)
        if field.maps_to and field.name in answers
    }


def _identities(mapped: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((kind, mapped[name]) for name, kind in _IDENTITIES.items() if name in mapped)


def _attributes(mapped: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(_ATTRIBUTE): mapped[name] for name in mapped if name.startswith(_ATTRIBUTE)}


def _name(value: object) -> str | None:
    return None if value is None else str(value)[:_MAX_WORD]


def _confirmation_key(submission: FormSubmission) -> str:
    return f"form:{submission.pk.hex}"


def _send_confirmation(form: Form, submission: FormSubmission, occurred_at: datetime, now: datetime) -> None:
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
