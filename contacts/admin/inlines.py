"""What is edited on a contact's page: identifiers, consents, tags, companies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db.models import (
    QuerySet,
)
from django.forms import ValidationError
from django.http import HttpRequest

from contacts.admin.base import BUILT_IN_KINDS
from contacts.identifiers import normalize_identifier
from contacts.identity.lookup import find
from contacts.models import (
    CompanyMembership,
    Consent,
    Contact,
    ContactTag,
    Identifier,
)
from contacts.profiles.state import ContactDraft, ContactState, changes_of
from contacts.signals import contacts_changed
from contacts.tombstones import erased_among
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.inlines import FixedRowsMixin, WorkspaceInline, WorkspaceInlineFormSet


class IdentifierForm(WorkspaceModelForm):
    """An identifier is stored as look-ups spell it."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        kind, value = cleaned.get("kind"), cleaned.get("value")
        workspace = cleaned.get("workspace") or getattr(self.instance, "workspace", None)
        if workspace is None:
            return cleaned  # the form above says so
        if kind and kind not in (*BUILT_IN_KINDS, workspace.identity_field):
            self.add_error("kind", f"Choose one of {', '.join(BUILT_IN_KINDS)}, {workspace.identity_field}.")
        elif kind and value:
            cleaned["value"] = normalize_identifier(kind, value)
            if cleaned["value"] is None:
                self.add_error("value", f"This cannot be a contact's {kind}.")
            elif erased_among(workspace.pk, [(kind, cleaned["value"])]):
                self.add_error("value", "Whoever has this was erased and is not stored again.")
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        # A new primary identifier takes the place of the old one, see `save_identifiers`.
        return super()._get_validation_exclusions() | {"is_primary"}


class IdentifierFormSet(WorkspaceInlineFormSet):
    """The identifiers of one contact."""

    def clean(self) -> None:
        super().clean()
        kept = [form for form in self.forms if form not in self.deleted_forms]
        primary = [form.cleaned_data.get("kind") for form in kept if form.cleaned_data.get("is_primary")]
        if len(primary) != len(set(primary)):
            raise ValidationError("Only one identifier of a kind can be the primary one.")


class IdentifierInline(WorkspaceInline):
    model = Identifier
    form = IdentifierForm
    formset = IdentifierFormSet
    fields = ["kind", "value", "is_primary"]
    ordering = ["kind", "-is_primary", "value"]


class ConsentInline(WorkspaceInline):
    model = Consent
    fields = ["channel", "status", "changed_at"]
    readonly_fields = ["changed_at"]
    ordering = ["channel"]


class ContactTagInline(FixedRowsMixin, WorkspaceInline):
    model = ContactTag
    fields = ["tag"]
    autocomplete_fields = ["tag"]
    verbose_name = "tag"
    verbose_name_plural = "tags"

    def get_queryset(self, request: HttpRequest) -> QuerySet[ContactTag]:
        return super().get_queryset(request).select_related("tag")


class CompanyMembershipInline(FixedRowsMixin, WorkspaceInline):
    model = CompanyMembership
    fields = ["company"]
    autocomplete_fields = ["company"]
    verbose_name = "company"
    verbose_name_plural = "companies"

    def get_queryset(self, request: HttpRequest) -> QuerySet[CompanyMembership]:
        return super().get_queryset(request).select_related("company", "contact")


@contextmanager
def announced(contact: Contact) -> Iterator[None]:
    """Publish changes of a contact's identifiers, tags and consents, as the services do."""
    before = _state_of(contact)
    yield
    after = _state_of(contact)
    if before is None or after is None:
        return
    if changes := list(changes_of(ContactDraft(contact.pk, before, after))):
        contacts_changed.send(sender=Contact, workspace_id=contact.workspace_id, changes=changes)


def _state_of(contact: Contact) -> ContactState | None:
    return find(contact.workspace_id, [contact.pk], with_states=True).states.get(contact.pk)


def save_identifiers(formset: Any) -> None:
    """Save a contact's identifiers so that each kind keeps exactly one primary."""
    formset.save(commit=False)
    for identifier in formset.deleted_objects:
        delete_identifier(identifier)
    for identifier in [*formset.new_objects, *(changed for changed, _ in formset.changed_objects)]:
        save_identifier(identifier)


def save_identifier(identifier: Identifier) -> None:
    """Save an identifier; a new primary one takes the place of the old, the first of a kind is primary."""
    siblings = _of_same_kind(identifier).exclude(pk=identifier.pk)
    if identifier.is_primary:
        siblings.update(is_primary=False)
    identifier.is_primary = identifier.is_primary or not siblings.filter(is_primary=True).exists()
    identifier.save()


def delete_identifier(identifier: Identifier) -> None:
    """Delete an identifier; if it was the primary one, the oldest of its kind becomes that."""
    of_kind = _of_same_kind(identifier)
    identifier.delete()
    if not of_kind.filter(is_primary=True).exists() and (oldest := of_kind.order_by("id").first()):
        oldest.is_primary = True
        oldest.save(update_fields=["is_primary"])


def _of_same_kind(identifier: Identifier) -> QuerySet[Identifier]:
    return Identifier.objects.in_workspace(identifier.workspace_id).filter(
        contact_id=identifier.contact_id, kind=identifier.kind
    )
