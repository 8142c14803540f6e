"""Contacts: the list, the page with all that is known of one, merging and erasing."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import (
    DecimalField,
    FilteredRelation,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.module_loading import import_string

from config import clock
from config.errors import DomainError
from contacts.admin.base import (
    STILL_MOVING,
    ContactSearchMixin,
    concerned_contacts,
    identifier_of,
    refusals_shown,
)
from contacts.admin.filters import ConsentFilter, MergedFilter, ScoreFilter
from contacts.admin.inlines import (
    CompanyMembershipInline,
    ConsentInline,
    ContactTagInline,
    IdentifierInline,
    announced,
    save_identifiers,
)
from contacts.crud import delete_contact
from contacts.erasure.erasures import erase_person
from contacts.merging.merges import merge_contacts
from contacts.models import (
    Consent,
    Contact,
    ContactScore,
    Identifier,
)
from contacts.profiles.schema import check_attributes, load_schema
from contacts.queries import with_details
from workspaces.staff.confirmation import Question, ask
from workspaces.staff.filters import OwnChoicesFilter, WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.model_admin import ServiceDeleteMixin, WorkspaceModelAdmin
from workspaces.staff.sections import sections_for
from workspaces.staff.workspace_choice import chosen_workspace

# What a page waits for the rows of an erased person to be removed; the rest is the background's.
ERASING_SECONDS = 2.0


SHOWN_MERGED = 100


class ContactForm(WorkspaceModelForm):
    """A contact: declared attributes have their types."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        workspace = cleaned.get("workspace") or getattr(self.instance, "workspace", None)
        if workspace and cleaned.get("attributes"):
            try:
                cleaned["attributes"] = check_attributes(load_schema(workspace.pk), cleaned["attributes"])
            except DomainError as error:
                self.add_error("attributes", error.message)
        return cleaned


@admin.register(Contact)
class ContactAdmin(ServiceDeleteMixin, ContactSearchMixin, WorkspaceModelAdmin):
    resource = "contacts"
    form = ContactForm
    list_display = ["__str__", "email", "phone", "score", "created"]
    list_filter = [
        WorkspaceFilter,
        MergedFilter,
        ("contact_tags__tag", OwnChoicesFilter),
        ConsentFilter,
        ScoreFilter,
    ]
    sortable_by = ("score", "created")
    search_fields = ["last_name"]
    search_help_text = "An id, the beginning of an e-mail, phone or other identifier, or of a last name."
    contact_field = "id"
    fields = [
        "workspace",
        "first_name",
        "last_name",
        "attributes",
        "merged_into",
        "merged_contacts",
        "created_at",
        "updated_at",
    ]
    readonly_fields = ["merged_into", "merged_contacts", "created_at", "updated_at"]
    inlines = [IdentifierInline, ConsentInline, ContactTagInline, CompanyMembershipInline]
    actions = ["merge_chosen", "erase_chosen"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Contact]:
        """Look the columns up for the page's rows alone, in the same statement."""
        scores = ContactScore.objects.in_workspace(OuterRef("workspace_id")).filter(contact_id=OuterRef("pk"))
        rows: QuerySet[Contact] = super().get_queryset(request)
        return rows.annotate(
            listed_email=identifier_of(Identifier.EMAIL, contact="pk"),
            listed_phone=identifier_of(Identifier.PHONE, contact="pk"),
            listed_score=Subquery(scores.values("points")[:1], output_field=DecimalField()),
        ).alias(
            # By a join, for who sorts by it: who has no score has 0.
            own_score=FilteredRelation("scores", condition=Q(scores__workspace_id=chosen_workspace(request)))
        )

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Add what other apps filter contacts by: see `settings.ADMIN_CONTACT_FILTERS`."""
        return [*super().get_list_filter(request), *map(import_string, settings.ADMIN_CONTACT_FILTERS)]

    def has_change_permission(self, request: HttpRequest, obj: Contact | None = None) -> bool:
        """Show a merged contact only: what changes is the person, on the survivor's page."""
        may: bool = super().has_change_permission(request, obj)
        return may and (obj is None or obj.merged_into_id is None)

    def has_delete_permission(self, request: HttpRequest, obj: Contact | None = None) -> bool:
        """Keep a merged contact: deleting it would delete the person."""
        may: bool = super().has_delete_permission(request, obj)
        return may and (obj is None or obj.merged_into_id is None)

    def has_merge_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "change")

    @admin.action(description="Merge two contacts into the older one", permissions=["merge"])
    def merge_chosen(self, request: HttpRequest, queryset: QuerySet[Contact]) -> HttpResponse | None:
        """Merge the younger of two chosen contacts into the older, once that was confirmed."""
        chosen = list(queryset.order_by("id")[:3])
        if len(chosen) != 2:
            messages.error(request, "Choose two contacts.")
            return None
        survivor, merged = chosen
        question = Question(
            title="Merge two contacts",
            button="Merge",
            happens=[
                f"{merged} becomes part of {survivor}: events, scores, segments and messages read as one person's.",
                "The record of the merge can be undone.",
            ],
            concerned=[concerned_contacts(queryset)],
        )
        if (page := ask(request, self, lambda: question)) is not None:
            return page
        with refusals_shown(request):
            merge = merge_contacts(survivor.workspace_id, survivor, merged, by=str(request.user))
            more = STILL_MOVING if merge.status == "running" else ""
            messages.success(request, f"{merged} is part of {survivor} now.{more}")
        return None

    def has_erase_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "delete")

    @admin.action(description="Erase for good: everything about the persons", permissions=["erase"])
    def erase_chosen(self, request: HttpRequest, queryset: QuerySet[Contact]) -> HttpResponse | None:
        """Erase the chosen persons, once that was confirmed."""
        if (page := ask(request, self, partial(_erasure_question, queryset))) is not None:
            return page
        erased = 0
        for contact in queryset:
            with refusals_shown(request):
                erase_person(
                    contact.workspace_id, contact, by=str(request.user), at_most_seconds=ERASING_SECONDS
                )
                erased += 1
        if erased:
            messages.success(request, f"{erased} person{'' if erased == 1 else 's'} erased.")
        return None

    @admin.display(description="merged into it")
    def merged_contacts(self, contact: Contact) -> str:
        """Return links to the contacts that read as this one."""
        merged = contact.merged.order_by("id")[:SHOWN_MERGED]
        return (
            format_html_join(", ", '<a href="{}">{}</a>', ((_url_of(each), each) for each in merged)) or "-"
        )

    @admin.display(description="e-mail")
    def email(self, contact: Any) -> str | None:
        return contact.listed_email  # type: ignore[no-any-return]  # an annotation

    @admin.display(description="phone")
    def phone(self, contact: Any) -> str | None:
        return contact.listed_phone  # type: ignore[no-any-return]  # an annotation

    @admin.display(description="created", ordering="id")
    def created(self, contact: Contact) -> datetime:
        return contact.created_at

    @admin.display(description="score", ordering=Coalesce("own_score__points", Decimal(0)))
    def score(self, contact: Any) -> str:
        return f"{contact.listed_score.normalize():f}" if contact.listed_score else "0"

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show below the form what other apps know of the contact."""
        context = extra_context or {}
        if request.method == "GET" and (contact := self.get_object(request, object_id)):
            context["contact_sections"] = sections_for(request, settings.CONTACT_SECTIONS, contact)
        return super().change_view(request, object_id, form_url, context)  # type: ignore[no-any-return]  # untyped

    def save_model(self, request: HttpRequest, obj: Contact, form: Any, change: bool) -> None:
        obj.updated_at = clock.now()
        super().save_model(request, obj, form, change)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save the contact's rows and publish the changes once."""
        with announced(form.instance):
            super().save_related(request, form, formsets, change)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Save identifiers so that each kind keeps one primary, and note when a consent changed."""
        if formset.model is Identifier:
            save_identifiers(formset)
            return
        for row in formset.save(commit=False):
            if isinstance(row, Consent):
                row.note_change()
            row.save()
        for row in formset.deleted_objects:
            row.delete()

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List the contacts with their e-mail addresses."""
        _, *rest = super().get_deleted_objects(objs, request)
        contacts = with_details(
            Contact.objects.filter(pk__in=[contact.pk for contact in objs]).order_by("id")
        )
        return [
            f"{contact} ({contact.email})" if contact.email else str(contact) for contact in contacts
        ], *rest

    def delete_model(self, request: HttpRequest, obj: Contact) -> None:
        delete_contact(obj.workspace_id, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Contact]) -> None:
        for contact in queryset:
            delete_contact(contact.workspace_id, contact)


def _erasure_question(contacts: QuerySet[Contact]) -> Question:
    return Question(
        title="Erase for good",
        button="Erase for good",
        happens=[
            "Everything about these persons is removed: events, scores, memberships,"
            " enrollments and messages, and that of"
            " all contacts merged into them. Whoever has their identifiers is not stored again."
        ],
        concerned=[concerned_contacts(contacts, "person")],
        is_final=True,
    )


def _url_of(contact: Contact) -> str:
    return reverse("admin:contacts_contact_change", args=[contact.pk])
