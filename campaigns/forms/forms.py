"""Forms: create, change, delete and find them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import IntegrityError, transaction

from campaigns.errors import FormExists, FormNotFound, InvalidForm
from campaigns.forms.fields import MAX_WORD, read_fields
from campaigns.models import Form, Template
from campaigns.models.messages import Channel
from config import clock, ids
from config.ids import parse_uuid
from config.values.endpoints import canonical_url
from contacts.models import Consent
from workspaces.origins import InvalidOrigin, parse_origins


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
    if not isinstance(name, str) or not 0 < len(name.strip()) <= MAX_WORD or "\x00" in name:
        raise InvalidForm("name", f"Must be a text of at most {MAX_WORD} characters")
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
