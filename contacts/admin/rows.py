"""What belongs to contacts, listed over all of them: identifiers, consents, tags, companies, scores."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import (
    QuerySet,
)
from django.http import HttpRequest

from contacts.admin.base import ContactSearchMixin, identifier_of
from contacts.admin.inlines import IdentifierForm, announced, delete_identifier, save_identifier
from contacts.models import (
    CompanyMembership,
    Consent,
    ContactScore,
    ContactTag,
    Identifier,
)
from workspaces.staff.inlines import FixedRowsMixin
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin


class OfContactAdmin(ContactSearchMixin, WorkspaceModelAdmin):
    """Rows that hang on a contact; its own page shows them too."""

    resource = "contacts"
    search_fields = ["contact__last_name"]
    search_help_text = "A contact's id, identifier or name."
    sortable_by = ()
    list_select_related = ["contact"]
    autocomplete_fields = ["workspace", "contact"]
    fixed_fields = ["workspace", "contact"]

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        with announced(obj.contact):
            self.save_row(obj)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with announced(obj.contact):
            self.delete_row(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        for row in queryset.select_related("contact"):
            self.delete_model(request, row)

    def save_row(self, row: Any) -> None:
        """Save one row."""
        row.save()

    def delete_row(self, row: Any) -> None:
        """Delete one row."""
        row.delete()


@admin.register(Identifier)
class IdentifierAdmin(OfContactAdmin):
    form = IdentifierForm
    list_display = ["kind", "value", "is_primary", "contact", "created_at"]
    fields = ["workspace", "contact", "kind", "value", "is_primary", "created_at"]
    readonly_fields = ["created_at"]

    def save_row(self, row: Identifier) -> None:
        save_identifier(row)

    def delete_row(self, row: Identifier) -> None:
        delete_identifier(row)


@admin.register(Consent)
class ConsentAdmin(OfContactAdmin):
    list_display = ["contact", "channel", "status", "changed_at"]
    fields = ["workspace", "contact", "channel", "status", "changed_at", "is_dated"]
    readonly_fields = ["changed_at", "is_dated"]
    fixed_fields = ["workspace", "contact", "channel"]

    def save_row(self, row: Consent) -> None:
        row.note_change()
        row.save()


@admin.register(ContactTag)
class ContactTagAdmin(FixedRowsMixin, OfContactAdmin):
    list_display = ["contact", "tag", "created_at"]
    list_select_related = ["contact", "tag"]
    autocomplete_fields = ["workspace", "contact", "tag"]
    fields = ["workspace", "contact", "tag"]


@admin.register(CompanyMembership)
class CompanyMembershipAdmin(FixedRowsMixin, OfContactAdmin):
    list_display = ["contact", "company", "created_at"]
    list_select_related = ["contact", "company"]
    autocomplete_fields = ["workspace", "contact", "company"]
    fields = ["workspace", "contact", "company"]


@admin.register(ContactScore)
class ContactScoreAdmin(ReadOnlyAdminMixin, OfContactAdmin):
    list_display = ["contact", "email", "__str__", "updated_at"]
    fields = ["workspace", "contact", "points", "updated_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ContactScore]:
        rows: QuerySet[ContactScore] = super().get_queryset(request)
        return rows.annotate(listed_email=identifier_of(Identifier.EMAIL))

    @admin.display(description="e-mail")
    def email(self, score: Any) -> str | None:
        return score.listed_email  # type: ignore[no-any-return]  # an annotation
