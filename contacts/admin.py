"""Admin of contacts: contacts with their identifiers, tags and consents, companies, merges, erasures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.db import DatabaseError
from django.db.models import (
    CharField,
    DecimalField,
    Exists,
    FilteredRelation,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.db.models.functions import Coalesce
from django.forms import ValidationError
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.module_loading import import_string
from unfold.contrib.filters.admin import (
    ChoicesDropdownFilter,
    DropdownFilter,
    RangeNumericListFilter,
)

from config import clock
from config.db.errors import Fault, classify_database_error
from config.errors import DomainError
from config.ids import parse_uuid
from config.values.emails import canonical_email_part
from contacts.crud import delete_contact
from contacts.erasure.erasures import erase_person
from contacts.identifiers import normalize_identifier
from contacts.identity.lookup import find
from contacts.merging.merges import merge_contacts, undo_merge
from contacts.models import (
    Company,
    CompanyMembership,
    Consent,
    Contact,
    ContactScore,
    ContactTag,
    ErasedIdentifier,
    Erasure,
    Field,
    Identifier,
    Import,
    Merge,
    Tag,
    company_name_key,
)
from contacts.profiles.schema import check_attributes, load_schema
from contacts.profiles.state import ContactDraft, ContactState, changes_of
from contacts.queries import with_details
from contacts.search_text import LAST_CHARACTER, begins_with
from contacts.signals import contacts_changed
from contacts.tombstones import digests_of, erased_among
from workspaces.models import Workspace
from workspaces.staff.confirmation import SAMPLES, AffectedRows, Question, ask
from workspaces.staff.filters import OwnChoicesFilter, WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.inlines import FixedRowsMixin, WorkspaceInline, WorkspaceInlineFormSet
from workspaces.staff.model_admin import ReadOnlyAdminMixin, ServiceDeleteMixin, WorkspaceModelAdmin
from workspaces.staff.sections import sections_for
from workspaces.staff.workspace_choice import chosen_workspace, workspaces_searched

# What a page waits for the rows of an erased person to be removed; the rest is the background's.
ERASING_SECONDS = 2.0
# A search shows the first so many; who wants another types more of it.
SEARCH_LIMIT = 200
SHOWN_MERGED = 100
# Of a score, before the point.
_SCORE_DIGITS = 24
_BUILT_IN_KINDS = (Identifier.EMAIL, Identifier.PHONE, Identifier.EXTERNAL_ID, Identifier.ANONYMOUS_ID)


def find_contact_ids(workspaces: QuerySet[Workspace], text: str) -> list[UUID]:
    """Return ids of persons by id, by the beginning of an identifier, or by name; each by an index.

    A person is found by what any of its contacts has, and all their ids are returned.
    """
    if contact_id := parse_uuid(text):
        return _with_merged([contact_id])
    return _with_merged([*_ids_by_identifier(workspaces, text), *_ids_by_name(workspaces, text)])


def _with_merged(ids: list[UUID]) -> list[UUID]:
    survivors = Contact.objects.filter(id__in=ids, merged_into__isnull=False).values_list(
        "merged_into_id", flat=True
    )
    found = {*ids, *(survivor for survivor in survivors if survivor)}
    return [*found, *Contact.objects.filter(merged_into__in=found).values_list("pk", flat=True)]


def _ids_by_identifier(workspaces: QuerySet[Workspace], text: str) -> list[UUID]:
    kinds = {*_BUILT_IN_KINDS, *workspaces.order_by().values_list("identity_field", flat=True).distinct()}
    starts = {text, text.lower(), canonical_email_part(text, starts=True) or text}
    starts.add(normalize_identifier(Identifier.PHONE, text) or text)
    values = Q()
    for start in starts:
        values |= Q(value__gte=start, value__lt=start + LAST_CHARACTER)
    identifiers = Identifier.objects.filter(values, workspace__in=workspaces.order_by(), kind__in=kinds)
    return list(identifiers.values_list("contact_id", flat=True)[:SEARCH_LIMIT])


def _ids_by_name(workspaces: QuerySet[Workspace], text: str) -> list[UUID]:
    first, _, last = text.rpartition(" ")
    named = Contact.objects.filter(begins_with("last_name", last), workspace__in=workspaces.order_by())
    if first:
        named = named.filter(begins_with("first_name", first.strip()))
    return list(named.values_list("pk", flat=True)[:SEARCH_LIMIT])


def identifier_of(kind: str, *, contact: str = "contact_id") -> Subquery:
    """Return the expression for a row's contact's primary identifier of `kind`."""
    identifiers = Identifier.objects.in_workspace(OuterRef("workspace_id")).filter(
        contact_id=OuterRef(contact), kind=kind
    )
    value = identifiers.order_by("-is_primary", "id").values("value")[:1]
    return Subquery(value, output_field=CharField())


class ContactSearchMixin:
    """Search rows by the contact that they are about."""

    contact_field = "contact_id"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find the contacts first, each way by its index, then the rows by their ids."""
        text = search_term.replace("\x00", "").strip()
        if not text:
            return queryset, False
        ids = find_contact_ids(workspaces_searched(request), text)
        return queryset.filter(self.match(ids, text)), False

    def match(self, contact_ids: Sequence[UUID], text: str) -> Q:
        """Return what a row must fulfil."""
        return Q(**{f"{self.contact_field}__in": contact_ids})


class IdentifierForm(WorkspaceModelForm):
    """An identifier is stored as look-ups spell it."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        kind, value = cleaned.get("kind"), cleaned.get("value")
        workspace = cleaned.get("workspace") or getattr(self.instance, "workspace", None)
        if workspace is None:
            return cleaned  # the form above says so
        if kind and kind not in (*_BUILT_IN_KINDS, workspace.identity_field):
            self.add_error("kind", f"Choose one of {', '.join(_BUILT_IN_KINDS)}, {workspace.identity_field}.")
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


class MergedFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Filter by whether a contact was merged into another."""

    title = "merged"
    parameter_name = "merged"
    all_option = ("", "Not merged")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Merged into another")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Contact]) -> QuerySet[Contact]:
        return queryset.filter(merged_into__isnull=self.value() != "yes")


class ConsentFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Filter by consent on a channel: opted in, opted out, never asked."""

    title = "consent"
    parameter_name = "consent"
    _NEVER = "never"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        statuses = [*Consent.Status.choices, (self._NEVER, "no consent known")]
        return [
            (f"{channel}:{status}", f"{channel}: {words}")
            for channel in Consent.Channel.values
            for status, words in statuses
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Contact]) -> QuerySet[Contact]:
        if self.value() not in {value for value, _ in self.lookup_choices}:
            return queryset
        channel, _, status = self.value().partition(":")
        own = Consent.objects.in_workspace(chosen_workspace(request)).filter(
            contact_id=OuterRef("pk"), channel=channel
        )
        return queryset.filter(~Exists(own) if status == self._NEVER else Exists(own.filter(status=status)))


class ScoreFilter(RangeNumericListFilter):  # type: ignore[misc]  # unfold has no types
    """Filter by score between two values, both included; without a score it is 0."""

    title = "score"
    parameter_name = "score"

    def queryset(self, request: HttpRequest, queryset: QuerySet[Contact]) -> QuerySet[Contact]:
        lowest, highest = (
            _number(self.used_parameters.get(f"{self.parameter_name}_{end}")) for end in ("from", "to")
        )
        if lowest is None and highest is None:
            return queryset
        scores = ContactScore.objects.in_workspace(chosen_workspace(request))
        below = Q(points__lt=lowest) if lowest is not None else Q()
        above = Q(points__gt=highest) if highest is not None else Q()
        outside = scores.filter(below | above)
        if (lowest is None or lowest <= 0) and (highest is None or highest >= 0):
            return queryset.exclude(pk__in=outside.values("contact_id"))
        inside = scores.exclude(below | above)
        return queryset.filter(pk__in=inside.values("contact_id"))


def _number(text: Any) -> Decimal | None:
    """Return what a filter holds as a number that a score can be compared with, None if it is none."""
    try:
        number = Decimal(text)
    except (TypeError, ValueError, ArithmeticError):
        return None
    return number if number.is_finite() and number.adjusted() < _SCORE_DIGITS else None


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
            more = _STILL_MOVING if merge.status == "running" else ""
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
            format_html_join(
                ", ", '<a href="{}">{}</a>', ((_page_of(merged_id), merged_id) for merged_id in merged)
            )
            or "-"
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
                row.changed_at = clock.now()
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


def concerned_contacts(contacts: QuerySet[Contact], noun: str = "contact", note: str = "") -> AffectedRows:
    """Return how many contacts something is about, and the first of them with their e-mail addresses."""
    samples = with_details(contacts.order_by("id"))[:SAMPLES]
    rows = [
        [
            format_html(
                '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>',
                _page_of(contact),
                contact,
            ),
            contact.email or "-",
        ]
        for contact in samples
    ]
    return AffectedRows(contacts.order_by().count(), noun, ["Contact", "E-mail"], rows, note, Contact)


@contextmanager
def refusals_shown(request: HttpRequest) -> Iterator[None]:
    """Show what a service refuses, or could not do now, as a message."""
    try:
        yield
    except DomainError as error:
        messages.error(request, error.sentence)
    except DatabaseError as error:
        if classify_database_error(error) not in (Fault.LOCK_TIMEOUT, Fault.CONFLICT):
            raise
        messages.error(request, "The contacts are being worked on. Try again in a moment.")


def _page_of(contact: Contact) -> str:
    return reverse("admin:contacts_contact_change", args=[contact.pk])


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


class CompanyForm(WorkspaceModelForm):
    """A company's name is unique whatever its case and spaces."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        self.instance.name_key = company_name_key(cleaned.get("name") or "")
        return cleaned

    def _get_validation_exclusions(self) -> set[str]:
        return super()._get_validation_exclusions() - {"name_key"}


@admin.register(Company)
class CompanyAdmin(WorkspaceModelAdmin):
    resource = "contacts"
    form = CompanyForm
    list_display = ["name", "website", "industry", "size", "created_at"]
    sortable_by = ()
    search_fields = ["name_key"]
    search_help_text = "The beginning of the name."
    fields = [
        *("workspace", "name", "website", "industry", "size", "external_id", "attributes"),
        *("created_at", "updated_at"),
    ]
    readonly_fields = ["created_at", "updated_at"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find companies by the beginning of their key: a range of the unique index."""
        start = " ".join(search_term.replace("\x00", "").split()).casefold()
        if not start:
            return queryset, False
        searched = workspaces_searched(request).order_by()
        return queryset.filter(
            workspace__in=searched, name_key__gte=start, name_key__lt=start + LAST_CHARACTER
        ), False

    def save_model(self, request: HttpRequest, obj: Company, form: Any, change: bool) -> None:
        obj.updated_at = clock.now()
        super().save_model(request, obj, form, change)


@admin.register(Field)
class FieldAdmin(WorkspaceModelAdmin):
    resource = "contacts"
    list_display = ["name", "type", "format", "created_at"]
    list_filter = [WorkspaceFilter, ("type", ChoicesDropdownFilter)]
    search_fields = ["name"]
    fields = ["workspace", "name", "type", "format", "created_at"]
    readonly_fields = ["created_at"]
    # Values are stored by the type: another type would leave them behind.
    fixed_fields = ["workspace", "name", "type"]


@admin.register(Tag)
class TagAdmin(WorkspaceModelAdmin):
    resource = "contacts"
    list_display = ["name"]
    search_fields = ["name"]
    fields = ["workspace", "name"]


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
    fields = ["workspace", "contact", "channel", "status", "changed_at"]
    readonly_fields = ["changed_at"]
    fixed_fields = ["workspace", "contact", "channel"]

    def save_row(self, row: Consent) -> None:
        row.changed_at = clock.now()
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


_STILL_MOVING = " What they have is being moved; the record of the merge tells how far that is."


class StandingFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Filter merges by whether they were undone."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("standing", "Standing"), ("undone", "Undone")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Merge]) -> QuerySet[Merge]:
        match self.value():
            case "standing":
                return queryset.filter(undone_at=None)
            case "undone":
                return queryset.exclude(undone_at=None)
            case _:
                return queryset


@admin.register(Merge)
class MergeAdmin(ReadOnlyAdminMixin, ContactSearchMixin, WorkspaceModelAdmin):
    resource = "contacts"
    list_display = ["survivor", "merged", "by", "merged_at", "undone_at", "state"]
    list_select_related = ["survivor", "merged"]
    list_filter = [WorkspaceFilter, StandingFilter]
    sortable_by = ()
    search_fields = ["by"]
    search_help_text = "An id, identifier or name of either contact."
    fields = [
        *("workspace", "survivor", "merged", "restores", "followers"),
        *("by", "merged_at", "undone_at", "state"),
    ]
    actions = ["undo"]

    @admin.display(description="state")
    def state(self, merge: Merge) -> str:
        """Tell whether all has been moved, else how much of it."""
        return merge.status if merge.status == "done" else f"{merge.status}: {merge.progress:.0%}"

    def match(self, contact_ids: Sequence[UUID], text: str) -> Q:
        return Q(survivor__in=contact_ids) | Q(merged__in=contact_ids)

    def has_undo_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "change")

    @admin.action(description="Undo: part the contacts again", permissions=["undo"])
    def undo(self, request: HttpRequest, queryset: QuerySet[Merge]) -> HttpResponse | None:
        """Undo the chosen merges, each by itself, once that was confirmed."""
        if (page := ask(request, self, partial(_undo_question, queryset))) is not None:
            return page
        undone = running = 0
        for merge in queryset.order_by("-merged_at", "-id"):
            with refusals_shown(request):
                running += undo_merge(merge.workspace_id, merge).status == "running"
                undone += 1
        if undone:
            more = _STILL_MOVING if running else ""
            messages.success(request, f"{undone} merge{'' if undone == 1 else 's'} undone.{more}")
        return None


def _undo_question(merges: QuerySet[Merge]) -> Question:
    # The columns of the list are not looked up for the sub-select.
    of_merges = Merge.objects.filter(pk__in=merges.order_by().values("pk"))
    merged = Contact.objects.filter(pk__in=of_merges.values("merged"))
    survivors = Contact.objects.filter(pk__in=of_merges.values("survivor"))
    return Question(
        title="Undo merges",
        button="Part them",
        happens=[
            "Each contact has again what it came with, and what the survivor took over from it goes back."
        ],
        concerned=[
            concerned_contacts(merged, note="of their own again"),
            concerned_contacts(survivors, note="that they were part of"),
        ],
    )


@admin.register(ErasedIdentifier)
class ErasedIdentifierAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """What erased persons were known by: nobody can read it, but who knows an identifier can ask for it."""

    resource = "contacts"
    list_display = ["__str__", "erased_at"]
    list_filter = [WorkspaceFilter]
    sortable_by = ()
    ordering = ["-id"]
    search_fields = ["id"]
    search_help_text = "A whole e-mail address, phone number or other identifier."
    fields = ["workspace", "erased_at"]
    actions = ["lift"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find the rows that this identifier would have, of whatever kind it is."""
        if not search_term.strip():
            return queryset, False
        workspaces = list(workspaces_searched(request))
        kinds = {*_BUILT_IN_KINDS, *(workspace.identity_field for workspace in workspaces)}
        keys = [(kind, value) for kind in kinds if (value := normalize_identifier(kind, search_term))]
        digests = [digest for workspace in workspaces for digest in digests_of(workspace.pk, keys)]
        return queryset.filter(digest__in=digests), False

    def has_lift_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "delete")

    @admin.action(description="Let them be stored again", permissions=["lift"])
    def lift(self, request: HttpRequest, queryset: QuerySet[ErasedIdentifier]) -> HttpResponse | None:
        """Let the chosen identifiers be stored again, because the persons wish so, once that was confirmed."""
        question = Question(
            title="Let erased identifiers be stored again",
            button="Let them be stored",
            happens=["Whoever comes in with one of these identifiers is stored as anybody is."],
            concerned=[AffectedRows(queryset.count(), "identifier")],
            is_final=True,
        )
        if (page := ask(request, self, lambda: question)) is not None:
            return page
        lifted, _ = queryset.delete()
        messages.success(request, f"{lifted} identifier{'' if lifted == 1 else 's'} may be stored again.")
        return None


@admin.register(Erasure)
class ErasureAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "contacts"
    list_display = ["erased_at", "status", "rows", "by", "settled_at"]
    list_filter = [WorkspaceFilter]
    sortable_by = ()
    ordering = ["-erased_at"]
    search_fields = ["id"]
    search_help_text = "The id of a receipt, or of a contact that was."
    fields = ["workspace", "status", "contact_ids", "removed", "by", "erased_at", "finished_at", "settled_at"]

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find a receipt by its id, or by that of a contact."""
        if not search_term.strip():
            return queryset, False
        wanted = parse_uuid(search_term.strip())
        return queryset.filter(
            Q(id=wanted) | Q(contact_ids__contains=[wanted])
        ) if wanted else queryset.none(), False

    @admin.display(description="rows removed")
    def rows(self, erasure: Erasure) -> int:
        return sum(erasure.removed.values())


@admin.register(Import)
class ImportAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """Files of contacts and events: how far each has come, and what became of its rows."""

    resource = "contacts"
    list_display = [
        *("started_at", "name", "kind", "status", "progress", "row_count", "recorded", "known", "refused"),
        "finished_at",
    ]
    list_filter = [WorkspaceFilter, ("kind", ChoicesDropdownFilter), ("status", ChoicesDropdownFilter)]
    sortable_by = ()
    search_fields = ["name"]
    search_help_text = "The file's name"
    fields = [
        *("workspace", "kind", "name", "status", "progress", "row_count", "recorded", "known", "refused"),
        *("refused_file", "error", "effects", "mapping", "position", "line", "size", "fingerprint"),
        *("started_at", "updated_at", "finished_at"),
    ]

    @admin.display(description="progress")
    def progress(self, run: Import) -> str | None:
        """Return the part of the file that is decided."""
        return None if run.progress is None else f"{run.progress:.0%}"

    @admin.display(description="rows")
    def row_count(self, run: Import) -> int:
        """Return how many rows are decided."""
        return run.rows
