"""Forms on other people's pages: what they ask for, and what becomes of the answers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import QuerySet

from campaigns.errors import FormExists, FormNotFound, InvalidForm, InvalidSubmission
from campaigns.messaging.public_links import public_url, read_token, token_for
from campaigns.messaging.queue import EnqueuedMessage, enqueue_message
from campaigns.models import Form, FormSubmission, Message, PendingConsent, Template
from campaigns.models.messages import Channel
from config import clock, ids
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
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from workspaces.models import Workspace
from workspaces.origins import InvalidOrigin, parse_origins

EVENT: Final = "form.submitted"
TYPES: Final = ("text", "email", "phone", "number", "checkbox", "select")
TRAP: Final = "_website"
"""A field that no person sees; who fills it in is a machine."""
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
class FormQuestions:
    """A field of a form."""

    name: str
    type: str = "text"
    label: str = ""
    required: bool = False
    options: tuple[str, ...] = ()
    # email, phone, firstName, lastName or attributes.<name>; "": the answer is only told in the event.
    maps_to: str = ""


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a visitor is told; without a submission, nothing was kept, and the visitor is not told that."""

    form: Form
    id: UUID
    submission: FormSubmission | None = None


@dataclass(frozen=True, slots=True)
class FormValues:
    """What of a form is to be set; None leaves it as it is."""

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


def create_form(workspace: Workspace, values: FormValues) -> Form:
    """Make a form. Raises InvalidForm, FormExists."""
    return _save(Form(workspace=workspace), values)


def update_form(workspace: Workspace, form: Form, values: FormValues) -> Form:
    """Change a form. Raises InvalidForm, FormExists."""
    form = find_form(workspace, form.pk)
    form.updated_at = clock.now()
    return _save(form, values)


def delete_form(workspace: Workspace, form: Form) -> None:
    """Delete a form and the list of what it was sent; the events stay."""
    Form.objects.filter(workspace=workspace, pk=form.pk).delete()


def find_form(workspace: Workspace, form_id: UUID | None) -> Form:
    """Return a form of the workspace. Raises FormNotFound."""
    form = Form.objects.filter(workspace=workspace, pk=form_id).first() if form_id else None
    if form is None:
        raise FormNotFound
    return form


def public_form(text: str) -> Form:
    """Return the form of this id that takes answers. Raises FormNotFound."""
    form_id = parse_uuid(text)
    forms = Form.objects.select_related("workspace", "confirmation_template")
    form = forms.filter(pk=form_id, active=True).first() if form_id else None
    if form is None:
        raise FormNotFound
    return form


def questions_of(form: Form) -> list[FormQuestions]:
    """Return the fields of a form. Raises InvalidForm."""
    return read_fields(form.fields)


def read_fields(raw: object) -> list[FormQuestions]:
    """Return fields as they are written. Raises InvalidForm, which names the first that cannot be."""
    if not isinstance(raw, Sequence) or isinstance(raw, str) or not 0 < len(raw) <= MAX_FIELDS:
        raise InvalidForm("fields", f"Must be a list of 1 to {MAX_FIELDS} fields")
    asked = [_read_field(f"fields.{place}", one) for place, one in enumerate(raw)]
    names = [one.name for one in asked]
    if len(set(names)) < len(names):
        raise InvalidForm("fields", "Two fields have the same name")
    if not any(one.maps_to in _IDENTITIES and one.required for one in asked):
        raise InvalidForm(
            "fields", "One required field must map to email or phone: it says whose answers they are"
        )
    return asked


def submit_form(form: Form, answers: Mapping[str, Any], *, page_url: str = "", now: datetime) -> Submitted:
    """Take answers: the contact is found or made, and the stream told. Raises InvalidSubmission.

    Nobody has checked who the visitor is. Of somebody known the answers say only what was not known; they lift no
    opt-out, and overwrite nothing, before the link of the e-mail is followed.
    Answers of a machine that walked into the trap, and of somebody who was erased, are not kept.
    """
    submission_id = ids.uuid7(now)
    if answers.get(TRAP):
        return Submitted(form, submission_id)
    taken = _check_answers(form, answers)
    try:
        with transaction.atomic():
            submission = _record(form, submission_id, taken, page_url, now)
    except PersonErased:
        return Submitted(form, submission_id)
    except DomainError as error:
        raise InvalidSubmission({"body": [error.message]}) from error
    return Submitted(form, submission_id, submission)


def pending_confirmation(token: str) -> FormSubmission | None:
    """Return the submission that a link in an e-mail confirms; None: it is no link of ours, or all of it is gone."""
    parts = read_token(_CONFIRM, token)
    submission_id = parse_uuid(parts[0]) if parts else None
    if submission_id is None:
        return None
    return FormSubmission.objects.select_related("form__workspace").filter(pk=submission_id).first()


@transaction.atomic
def confirm_submission(submission: FormSubmission, *, now: datetime) -> bool:
    """Opt in to what the form is for, and set what its answers were to overwrite; return whether that is new.

    Raises ContactNotFound, also where the contact has another address by now than the one that the e-mail went to:
    whoever reads that proves nothing of it.
    """
    form = submission.form
    contact = get_contact(form.workspace_id, submission.contact_id)
    asked = Message.objects.in_workspace(form.workspace_id).filter(key=_key_of_asking(submission)).first()
    if asked is not None and asked.address != contact.email:
        raise ContactNotFound
    unconfirmed = FormSubmission.objects.filter(
        workspace_id=submission.workspace_id, pk=submission.pk, confirmed_at=None
    )
    if not unconfirmed.update(confirmed_at=now):
        return False
    # One e-mail asks for all that the person sent while it was open.
    others = _unconfirmed(submission).filter(form__double_opt_in=True, held={})
    others.filter(form__consents__contained_by=_held_by(form)).update(confirmed_at=now)
    if submission.held:
        # Of this submission alone: others may be somebody else's, and the e-mail was not about them.
        contact = update_contact(form.workspace, contact, _overwriting(submission))
    for channel in form.consents:
        set_consent(form.workspace, contact, channel, Consent.Status.OPTED_IN)
    PendingConsent.objects.filter(
        workspace_id=form.workspace_id, contact_id=submission.contact_id, channel__in=_held_by(form)
    ).delete()
    return True


def _unconfirmed(submission: FormSubmission) -> QuerySet[FormSubmission]:
    """Return what a person sent and has not confirmed."""
    return FormSubmission.objects.filter(
        workspace_id=submission.workspace_id,
        contact_id=submission.contact_id,
        confirmed_at=None,
    )


def _overwriting(submission: FormSubmission) -> ContactChanges:
    held = submission.held
    schema = load_schema(submission.workspace_id)
    attributes = held.get("attributes", {})
    return ContactChanges(
        first_name=held.get("firstName"),
        last_name=held.get("lastName"),
        attributes=check_attributes(schema, attributes) if attributes else {},
    )


def _held_by(form: Form) -> list[str]:
    """Return where nothing is sent before a form is confirmed: the mailbox at least, which the link proves."""
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
        raise FormExists(form.name) from error
    return form


def _template(workspace_id: UUID, text: str) -> Template | None:
    if not text:
        return None
    found = Template.objects.filter(
        workspace_id=workspace_id, channel=Channel.EMAIL, pk=parse_uuid(text) or ids.NO_ID
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
            "name": one.name,
            "label": one.label,
            "type": one.type,
            "required": one.required,
            "options": list(one.options),
            "mapsTo": one.maps_to,
        }
        for one in read_fields(raw)
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


def _as_it_is(value: bool) -> bool:
    return value


_CHECKS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "name": _checked_name,
    "fields": _checked_fields,
    "active": _as_it_is,
    "allowed_origins": _checked_origins,
    "consents": _checked_consents,
    "double_opt_in": _as_it_is,
    "redirect_url": _checked_redirect,
    "on_known": _checked_on_known,
}


def _read_field(path: str, raw: object) -> FormQuestions:
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
    return FormQuestions(name, type_, label, bool(raw.get("required")), tuple(options), maps_to)


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
    """Return the answers in their types; what was not asked for is left out. Raises InvalidSubmission."""
    taken: dict[str, Any] = {}
    faults: dict[str, list[str]] = {}
    for asked in questions_of(form):
        try:
            value = _READERS[asked.type](asked, answers.get(asked.name))
        except ValueError as error:
            faults[asked.name] = [str(error)]
            continue
        if value is not None:
            taken[asked.name] = value
        elif asked.required:
            faults[asked.name] = ["This field is required."]
    if faults:
        raise InvalidSubmission(faults)
    return taken


def _text(asked: FormQuestions, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > MAX_ANSWER or "\x00" in value or _has_surrogates(value):
        raise ValueError(f"Must be a text of at most {MAX_ANSWER} characters.")
    return value.strip() or None


def _has_surrogates(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def _identity(asked: FormQuestions, value: object) -> str | None:
    text = _text(asked, value)
    if text is not None and normalize_identifier(_IDENTITIES[asked.type], text) is None:
        raise ValueError("Must be an e-mail address." if asked.type == "email" else "Must be a phone number.")
    return text


def _number(asked: FormQuestions, value: object) -> float | int | None:
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


def _checkbox(asked: FormQuestions, value: object) -> bool | None:
    is_on = value in (True, "on", "true", "1", 1)
    if not is_on and value not in (None, False, "", "off", "false", "0", 0):
        raise ValueError("Must be true or false.")
    # A box that has to be ticked and is not is no answer.
    return None if asked.required and not is_on else is_on


def _choice(asked: FormQuestions, value: object) -> str | None:
    text = _text(asked, value)
    if text is not None and text not in asked.options:
        raise ValueError("Must be one of the options.")
    return text


_READERS: Final[Mapping[str, Callable[[FormQuestions, Any], Any]]] = {
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
        EVENT,
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
        form.workspace_id, (), normalize_all(_identities(_told(form, answers))[:1])
    ).by_identifier
    (outcome,) = record_events(form.workspace, [incoming], schema_policy=SchemaPolicy.OPEN, source="system")
    told = outcome.recorded()
    assert told.survivor_id is not None  # noqa: S101  (the event has a contact)
    submission = FormSubmission.objects.create(
        id=submission_id,
        workspace_id=form.workspace_id,
        form=form,
        contact_id=told.survivor_id,
        event_id=told.id,
        answers=dict(answers),
        held={} if form.on_known == Form.OnKnown.FILL_IN else _differing(form, told.survivor_id, answers),
        created_at=now,
    )
    if form.double_opt_in and (is_new or _is_pending(form.workspace_id, told.survivor_id)):
        _hold_consents(form, told.survivor_id, now)
    if form.confirmation_template is not None and _has_to_ask(form, submission, now):
        _ask_to_confirm(form, submission, told.occurred_at, now)
    return submission


def _differing(form: Form, contact_id: UUID, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return what answers say otherwise than is known: the names, and attributes that identify nobody."""
    contact = get_contact(form.workspace_id, contact_id)
    known = {"firstName": contact.first_name, "lastName": contact.last_name}
    told = _told(form, answers)
    names = {name: _name(told[name]) for name in known if name in told}
    schema = load_schema(form.workspace_id)
    attributes = _attributes(told)
    attributes.pop(schema.identity_field, None)
    checked = check_attributes(schema, attributes) if attributes else {}
    differing: dict[str, Any] = {name: value for name, value in names.items() if value != known[name]}
    if others := {
        name: value for name, value in checked.items() if differ(contact.attributes.get(name), value)
    }:
        differing["attributes"] = others
    return differing


def _is_pending(workspace_id: UUID, contact_id: UUID) -> bool:
    """Whether a person has come by such forms only, and confirmed none."""
    return PendingConsent.objects.filter(workspace_id=workspace_id, contact_id=contact_id).exists()


def _hold_consents(form: Form, contact_id: UUID, now: datetime) -> None:
    """Send nothing to whom nobody knew, where the form is for, until it is confirmed."""
    PendingConsent.objects.bulk_create(
        [
            PendingConsent(
                workspace_id=form.workspace_id, contact_id=contact_id, channel=channel, created_at=now
            )
            for channel in _held_by(form)
        ],
        ignore_conflicts=True,
    )


def _has_to_ask(form: Form, submission: FormSubmission, now: datetime) -> bool:
    """Whether there is something to ask for, and no e-mail is open that asks for it, by another form say.

    Whatever is to be overwritten has an e-mail of its own form, one at a time.
    """
    with connection.cursor() as cursor:
        # Two that are sent at once would each find none.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('confirmation ' || %s || %s, 0))",
            [str(form.workspace_id), str(submission.contact_id)],
        )
    since = now - timedelta(seconds=settings.CONFIRMATION_SECONDS)
    asked = list(_unconfirmed(submission).filter(asked_at__gt=since).select_related("form"))
    if submission.held and not any(one.form_id == form.pk for one in asked):
        return True
    is_open = any(set(form.consents) <= set(_held_by(one.form)) for one in asked)
    contact = get_contact(form.workspace_id, submission.contact_id)
    said = [contact.consent(channel) for channel in form.consents]
    if not form.double_opt_in:
        return not is_open and Consent.Status.OPTED_OUT in said
    return not is_open and (not said or any(one != Consent.Status.OPTED_IN for one in said))


def _reference(form: Form, answers: Mapping[str, Any]) -> ContactReference:
    """Return whose answers they are: whom the first identity finds, else somebody new who has them all.

    A visitor says who they are, and nobody checks it: so whom the first one finds gets no second one by it, and of
    the rest what is not known yet.
    """
    told = _told(form, answers)
    identities, attributes = _identities(told), _attributes(told)
    schema = load_schema(form.workspace_id)
    opted_in = {} if form.double_opt_in else dict.fromkeys(form.consents, Consent.Status.OPTED_IN)
    return ContactReference(
        identifiers=identities[:1],
        if_missing="create",
        update_matched=True,
        fills_in=True,
        changes=ContactChanges(
            first_name=_name(told.get("firstName")),
            last_name=_name(told.get("lastName")),
            attributes=check_attributes(schema, attributes) if attributes else {},
            identifiers=identities[1:],
            consents={channel: str(status) for channel, status in opted_in.items()},
        ),
    )


def _told(form: Form, answers: Mapping[str, Any]) -> dict[str, Any]:
    """Return answers by what they map to."""
    return {
        one.maps_to: answers[one.name] for one in questions_of(form) if one.maps_to and one.name in answers
    }


def _identities(told: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((kind, told[name]) for name, kind in _IDENTITIES.items() if name in told)


def _attributes(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix(_ATTRIBUTE): told[name] for name in told if name.startswith(_ATTRIBUTE)}


def _name(value: object) -> str | None:
    return None if value is None else str(value)[:_MAX_WORD]


def _key_of_asking(submission: FormSubmission) -> str:
    return f"form:{submission.pk.hex}"


def _ask_to_confirm(form: Form, submission: FormSubmission, occurred_at: datetime, now: datetime) -> None:
    """Have the e-mail sent whose link opts in; only there the link is."""
    link = public_url(f"/forms/confirm/{token_for(_CONFIRM, submission.pk.hex)}")
    event = Event(
        id=submission.event_id,
        workspace_id=form.workspace_id,
        name=EVENT,
        properties={**submission.answers, "formId": str(form.pk), "formName": form.name, "confirmUrl": link},
        occurred_at=occurred_at,
    )
    template = form.confirmation_template
    assert template is not None  # noqa: S101  # the caller looked
    outcome = enqueue_message(
        form.workspace_id,
        submission.contact_id,
        channel=Channel.EMAIL,
        template=template,
        key=_key_of_asking(submission),
        event=event,
        is_transactional=True,
        now=now,
    )
    if isinstance(outcome, EnqueuedMessage):
        submission.asked_at = now
        submission.save(update_fields=["asked_at"])
