"""Finding contacts, and rows about them, by what they go by; what actions say of contacts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db import DatabaseError
from django.db.models import (
    CharField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
)
from django.http import HttpRequest
from django.utils.safestring import SafeString

from config.db.errors import Fault, classify_database_error
from config.errors import DomainError
from config.ids import parse_uuid
from config.values.emails import canonical_email_part
from contacts.identifiers import normalize_identifier
from contacts.models import (
    Contact,
    Identifier,
)
from contacts.queries import with_details
from contacts.search_text import LAST_CHARACTER, begins_with
from workspaces.models import Workspace
from workspaces.staff.confirmation import SAMPLES, AffectedRows
from workspaces.staff.links import link
from workspaces.staff.workspace_choice import workspaces_searched

# A search shows the first so many; who wants another types more of it.
SEARCH_LIMIT = 200


BUILT_IN_KINDS = (Identifier.EMAIL, Identifier.PHONE, Identifier.EXTERNAL_ID, Identifier.ANONYMOUS_ID)


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
    kinds = {*BUILT_IN_KINDS, *workspaces.order_by().values_list("identity_field", flat=True).distinct()}
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


class ContactRowMixin(ContactSearchMixin):
    """Lists of rows about a contact, who is shown by e-mail address."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add the contacts' e-mail addresses, in the same statement."""
        rows: QuerySet[Any] = super().get_queryset(request)  # type: ignore[misc]  # a mixin
        listed: QuerySet[Any] = rows.annotate(listed_email=identifier_of(Identifier.EMAIL))
        return listed

    @admin.display(description="contact")
    def contact_label(self, row: Any) -> SafeString:
        return link("contacts_contact_change", row.contact_id, row.listed_email or row.contact_id)


def concerned_contacts(contacts: QuerySet[Contact], noun: str = "contact", note: str = "") -> AffectedRows:
    """Return how many contacts something is about, and the first of them with their e-mail addresses."""
    samples = with_details(contacts.order_by("id"))[:SAMPLES]
    rows = [
        [link("contacts_contact_change", contact.pk, contact), contact.email or "-"] for contact in samples
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


STILL_MOVING = " What they have is being moved; the record of the merge tells how far that is."
