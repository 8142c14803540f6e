"""A form's fields for one contact and the event that is the cause."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from unfold.widgets import UnfoldAdminTextInputWidget

from config.ids import NO_ID, parse_uuid
from contacts.identifiers import normalize_identifier
from contacts.identity.lookup import find
from contacts.models import Identifier
from events.models import Event


class ForContactForm(forms.Form):
    """A contact of the workspace, and optionally an event of the workspace that is the cause.

    Cleaned, `contact` is the canonical contact's id, and `event` an Event or None.
    """

    contact = forms.CharField(
        max_length=320, help_text="An e-mail address or an id.", widget=UnfoldAdminTextInputWidget
    )
    event = forms.CharField(
        max_length=64,
        required=False,
        help_text="The id of the event that is the cause, if there is one.",
        widget=UnfoldAdminTextInputWidget,
    )

    def __init__(self, workspace_id: UUID, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.workspace_id = workspace_id

    def clean_contact(self) -> UUID:
        contact_id = find_contact(self.workspace_id, self.cleaned_data["contact"])
        if contact_id is None:
            raise ValidationError("There is no such contact in this workspace.")
        return contact_id

    def clean_event(self) -> Event | None:
        text = self.cleaned_data["event"]
        if not text:
            return None
        event = Event.objects.in_workspace(self.workspace_id).filter(id=parse_uuid(text) or NO_ID).first()
        if event is None:
            raise ValidationError("There is no such event in this workspace.")
        return event


def find_contact(workspace_id: UUID, text: str) -> UUID | None:
    """Return the id of the canonical contact with an id or an e-mail address; None: there is none."""
    if (identifier := parse_uuid(text)) is not None:
        return find(workspace_id, [identifier]).by_id.get(identifier)
    email = normalize_identifier(Identifier.EMAIL, text)
    if email is None:
        return None
    pair = (str(Identifier.EMAIL), email)
    return find(workspace_id, identifiers=[pair]).by_identifier.get(pair)
