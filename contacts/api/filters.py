"""Filters of the list of contacts; each uses an index."""

import re
from typing import Any
from uuid import UUID

import django_filters
from django.conf import settings
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.db.models.lookups import IsNull
from django.utils.module_loading import import_string
from rest_framework.exceptions import ValidationError

from config.db.plans import force_custom_plan
from config.ids import parse_uuid
from config.values.emails import canonical_email, canonical_email_part
from config.values.phones import canonical_phone
from contacts.identifiers import MAX_LENGTH, normalize_identifier
from contacts.identity.lookup import find
from contacts.models import Contact, ContactTag, Identifier, Merge
from contacts.queries import planned_rows
from contacts.search_text import PART_LENGTH, with_parts
from workspaces.api.strict import integer_parameter, text_parameter

_MAX_WORDS = 8
_INTERNATIONAL = re.compile(r"\s*(?:\+|00|tel:)[\d\s().\-/]+")
_SURVIVOR = "contact__merged_into_id"
_DEEP = 10_000
_FREQUENT = 20
"""One contact in so many has a frequent word: a page of those fills while the list is read in its order."""


class IdentifierFilter(django_filters.CharFilter):  # type: ignore[misc]  # it has no types
    """The contact that is known by exactly this, itself or by one merged into it; nobody by what is empty."""

    def __init__(self, kind: str, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_LENGTH, **kwargs)
        self.kind = kind

    def filter(self, contacts: QuerySet[Contact], value: str | None) -> QuerySet[Contact]:
        """Leave the contact, if there is one."""
        asked = self.parent.data.get(self.field_name)
        if asked is None:
            return contacts
        if self.kind == Identifier.PHONE and asked.startswith(" "):
            # A "+" that the sender left as it is arrives as a space.
            asked = f"+{asked.strip()}"
        spelled = normalize_identifier(self.kind, asked)
        if spelled is None:
            return contacts.none()
        found = find(self.parent.workspace_id, identifiers=[(self.kind, spelled)]).by_identifier
        return contacts.filter(id__in=list(found.values())) if found else contacts.none()


class ContactFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """Search by words, the contacts with a tag, and what upper apps add (see `settings.CONTACT_FILTERS`)."""

    search = django_filters.CharFilter(
        method="filter_search",
        max_length=200,
        help_text="part of a name or of an identifier",
    )
    tagId = django_filters.CharFilter(method="filter_tag", help_text="only contacts with this tag")
    email = IdentifierFilter(Identifier.EMAIL, help_text="the whole address, spelled in any way")
    phone = IdentifierFilter(Identifier.PHONE, help_text="the whole number with its country")
    externalId = IdentifierFilter(Identifier.EXTERNAL_ID, help_text="the whole id")

    class Meta:
        model = Contact
        fields: list[str] = []

    @classmethod
    def get_filters(cls) -> dict[str, django_filters.Filter]:
        """Return the filters by name; the document of the API lists them as they stand here."""
        added = {name: import_string(path)() for name, (path, _) in settings.CONTACT_FILTERS.items()}
        return {**super().get_filters(), **added}

    def filter_search(self, contacts: QuerySet[Contact], name: str, text: str) -> QuerySet[Contact]:
        """Leave the contacts in whose names or identifiers every word occurs."""
        words = [_address_spelled(word) for word in _phone_together(text).split()]
        if len(words) > _MAX_WORDS:
            raise ValidationError({name: [f"At most {_MAX_WORDS} words."]})
        for word in words:
            contacts = _with_word(contacts, self.workspace_id, word, reads_on=not self.skips_many)
        return contacts

    def filter_tag(self, contacts: QuerySet[Contact], name: str, text: str) -> QuerySet[Contact]:
        """Leave the contacts with a tag; none for an id that is no tag's."""
        tag_id = parse_uuid(text)
        return contacts.filter(id__in=tagged(self.workspace_id, tag_id)) if tag_id else contacts.none()

    @property
    def skips_many(self) -> bool:
        """Whether the page asked for by its number is a deep one: reading up to it would be reading everything."""
        page = integer_parameter(self.request, "page", 1)
        limit = integer_parameter(self.request, "limit", 50)
        return text_parameter(self.request, "after") is None and page * limit > _DEEP

    @property
    def workspace_id(self) -> UUID:
        """The workspace whose contacts are listed."""
        found: UUID = self.request.parser_context["view"].workspace.id
        return found


def _address_spelled(word: str) -> str:
    """Return an address, or a part of one with its "@", as it is stored; other words stay as they are."""
    return (canonical_email(word) or canonical_email_part(word) or word) if "@" in word else word


def _phone_together(text: str) -> str:
    """Return a phone number with the code of its country as it is stored; other texts stay as they are."""
    return (canonical_phone(text) or text) if _INTERNATIONAL.fullmatch(text) else text


def tagged(workspace_id: UUID, tag_id: UUID, **narrower: Any) -> QuerySet[ContactTag, Any]:
    """Return the ids of the contacts with a tag, by one merged into them too; `narrower` is of `contact_id`."""
    has_tag = ContactTag.objects.in_workspace(workspace_id).filter(tag_id=tag_id)
    own = has_tag.filter(**narrower).values("contact_id")
    if not _has_merges(workspace_id):
        return own
    of_merged = {name.replace("contact_id", _SURVIVOR): value for name, value in narrower.items()}
    merged = has_tag.filter(
        contact__merges_of_it__workspace_id=workspace_id, contact__merges_of_it__undone_at=None, **of_merged
    )
    return own.union(merged.values(_SURVIVOR), all=True)


def _has_merges(workspace_id: UUID) -> bool:
    """Return whether any contact was merged: where none was, lists need not look through it."""
    return Merge.objects.in_workspace(workspace_id).filter(undone_at=None).exists()


@force_custom_plan()
def _with_word(
    contacts: QuerySet[Contact], workspace_id: UUID, word: str, *, reads_on: bool
) -> QuerySet[Contact]:
    """Look a word up in the indexes of parts, unless it is too short or so many have it that reading on is less."""
    if len(word) >= PART_LENGTH:
        # Of the parts the planner has statistics, of the word itself it would only guess.
        candidates = _with_parts(workspace_id, word)
        everybody = Contact.objects.in_workspace(workspace_id)
        if not reads_on or planned_rows(candidates) * _FREQUENT < planned_rows(everybody):
            return contacts.filter(id__in=_with_parts(workspace_id, word, exactly=True))
    known_by = Identifier.objects.in_workspace(workspace_id).filter(
        contact_id=OuterRef("id"), value__icontains=word
    )
    # Asked as EXISTS, the planner might first gather everybody's identifiers with the word.
    is_known_by = Q(IsNull(Subquery(known_by.values("id")[:1]), False))
    if _has_merges(workspace_id):
        merged = Identifier.objects.in_workspace(workspace_id).filter(
            contact__merged_into=OuterRef("id"), value__icontains=word
        )
        is_known_by |= Q(IsNull(Subquery(merged.values("id")[:1]), False))
    return contacts.filter(Q(first_name__icontains=word) | Q(last_name__icontains=word) | is_known_by)


def _with_parts(workspace_id: UUID, word: str, *, exactly: bool = False) -> QuerySet[Any, Any]:
    """Return the ids of contacts that may have a word in a name or an identifier; that have it, if `exactly`.

    For an identifier of a merged contact that is the survivor's.
    """
    first, last, known = (
        with_parts(model._default_manager.all(), workspace_id, column, word)
        .filter(**{f"{column}__icontains": word} if exactly else {})
        .values_list(contact)
        for model, column, contact in (
            (Contact, "first_name", "id"),
            (Contact, "last_name", "id"),
            (Identifier, "value", Coalesce(_SURVIVOR, "contact_id")),
        )
    )
    return first.union(last, known, all=True)
