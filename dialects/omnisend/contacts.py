"""Omnisend's contacts: list, create or update, read, update, delete; their tags and identifiers."""

from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils.http import urlencode
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from msgspec.structs import replace
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from config.db.lookups import any_of
from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from config.values.datetimes import parse_timestamp
from contacts.api.filters import ContactFilterSet
from contacts.crud import TakenIdentifiers, delete_contact, get_contact, untag_contact, update_contact
from contacts.errors import ContactNotFound
from contacts.identifiers import normalize_all
from contacts.identity.lookup import find
from contacts.identity.resolution import resolve_contacts
from contacts.models import Contact, Identifier, Tag
from contacts.queries import with_consent, with_details
from contacts.references import ContactChanges, ContactReference
from dialects.body_checks import Check, form, is_timestamp, record
from dialects.omnisend.base import OmnisendAccess, document
from dialects.omnisend.contact_bodies import (
    CONTACT_SCHEMA,
    IDENTIFIER_SCHEMA,
    SELECTION_SCHEMA,
    TAG_SCHEMA,
    ContactAnswer,
    parse_contact,
    parse_contact_changes,
    parse_identifier,
    parse_selection,
    parse_tags,
    render_contact,
)
from dialects.omnisend.errors import V3_ERRORS, V5_ERRORS, InvalidTrack
from dialects.omnisend.mapping import STATUSES
from dialects.omnisend.pages import DEFAULT_LIMIT, MAX_LIMIT, page_bounds
from events.api.shapes import json_schema
from segments.definitions import get_segment
from segments.errors import SegmentNotFound
from workspaces.api.base import WorkspaceViewSet, object_body
from workspaces.api.errors import ErrorTable
from workspaces.api.openapi import component
from workspaces.scopes import Need

_READS = Need("POST", "contacts:read", "for more of the contact than its id")
_READS_CHANGED = Need("PATCH", "contacts:read", "for more of the contact than its id")
_SEGMENT = Need("GET", "segments:read", "the list is narrowed by `segmentID`")
# Documented, and not to be expressed here but for this value.
_ONLY = {"sort": "createdAt", "direction": "desc"}
_FILTERS: Check = record(
    {
        "status": form(STATUSES.__contains__, f"must be one of {', '.join(STATUSES)}"),
        "updatedAtFrom": form(is_timestamp, "must be an RFC 3339 time"),
        **{name: form(only.__eq__, "is not supported here", enum=[only]) for name, only in _ONLY.items()},
    }
)
_ANSWER = component("OmnisendContact", json_schema(ContactAnswer))
_SAVED = component(
    "OmnisendSavedContact",
    {
        "type": "object",
        "properties": {
            "contactID": {"type": "string"},
            "id": {"type": "string"},
            "email": {"type": ["string", "null"]},
        },
        "required": ["contactID"],
        "description": "in v3 no more than this; in v5 the contact, for who may read it",
    },
)
_LIST = component(
    "OmnisendContacts",
    {
        "type": "object",
        "properties": {
            "contacts": {"type": "array", "items": json_schema(ContactAnswer)},
            "paging": {"type": "object", "description": "`next` and `previous`; under `/api` `cursors`"},
        },
        "required": ["contacts", "paging"],
    },
)
_BODY = component("OmnisendContactBody", CONTACT_SCHEMA)
_SELECTION = component("OmnisendTagging", SELECTION_SCHEMA)
_PARAMETERS = [
    OpenApiParameter("email", OpenApiTypes.STR, description="the whole address"),
    OpenApiParameter("phone", OpenApiTypes.STR, description="the whole number"),
    OpenApiParameter("tag", OpenApiTypes.STR, description="the tag's name"),
    OpenApiParameter("segmentID", OpenApiTypes.STR, description="only members of this segment"),
    OpenApiParameter("status", OpenApiTypes.STR, enum=[*STATUSES], description="of the e-mail channel"),
    OpenApiParameter("updatedAtFrom", OpenApiTypes.DATETIME, description="changed then or later"),
    OpenApiParameter("limit", OpenApiTypes.INT, description=f"1 to {MAX_LIMIT}, by default {DEFAULT_LIMIT}"),
    OpenApiParameter("after", OpenApiTypes.STR, description="the page after this contact"),
    OpenApiParameter("before", OpenApiTypes.STR, description="the page before this contact"),
    OpenApiParameter("offset", OpenApiTypes.INT, description="how many to leave out"),
]
_MEMBER_PARAMETERS = [each for each in _PARAMETERS if each.name != "segmentID"]
_PATH = r"contacts/(?P<contact_id>[^/]+)"


class ContactViewSet(OmnisendAccess, WorkspaceViewSet):
    """Contacts, as v5 has them."""

    queryset = Contact.objects.none()
    error_table: ClassVar[ErrorTable] = V5_ERRORS
    scopes: ClassVar[Mapping[str, str]] = {
        "GET": "contacts:read",
        "POST": "contacts:write",
        "PATCH": "contacts:write",
        "DELETE": "contacts:write",
    }
    needs = (_READS, _READS_CHANGED, _SEGMENT)
    created_status: ClassVar[int] = 201
    # An identifier that another contact has.
    taken_identifiers: ClassVar[TakenIdentifiers] = "refuse"
    keeps_email: ClassVar[bool] = False

    @document("List contacts, newest first", {200: _LIST}, parameters=_PARAMETERS)
    @action(detail=False, url_path="contacts", url_name="omnisend-contacts")
    def contacts(self, request: Request, **kwargs: Any) -> Response:
        """Return a page of the contacts that the parameters find."""
        return self._page(request, request.query_params.dict())

    def _page(self, request: Request, parameters: dict[str, str]) -> Response:
        if problems := [*_FILTERS("", parameters)]:
            raise InvalidTrack(problems)
        limit, offset = page_bounds(parameters)
        contacts = self._found(parameters)
        back = parse_uuid(parameters.get("before", ""))
        if "after" in parameters:
            contacts = contacts.filter(id__lt=parse_uuid(parameters["after"]) or NO_ID)
        if back is not None:
            contacts = contacts.filter(id__gt=back)
        contacts = contacts.order_by("id" if back is not None else "-id")
        ids = list(contacts.values_list("id", flat=True)[offset : offset + limit + 1])
        page, more = ids[:limit], len(ids) > limit
        if back is not None:
            page.reverse()
        loaded = with_details(Contact.objects.in_workspace(self.workspace.id).filter(any_of("id", page)))
        by_id = {contact.id: contact for contact in loaded}
        return Response(
            {
                "contacts": [render_contact(by_id[each]) for each in page if each in by_id],
                "paging": self._paging(request, page, limit, is_more=more, is_back=back is not None),
            }
        )

    @document(
        "Create a contact, or update who is known by its identifiers", {200: _SAVED, 201: _SAVED}, body=_BODY
    )
    @contacts.mapping.post
    def save(self, request: Request, **kwargs: Any) -> Response:
        """Create a contact: 201, in v3 200; or update the one that the identifiers find: 200."""
        with transaction.atomic():
            (result,) = resolve_contacts(self.workspace.id, [parse_contact(object_body(request))])
            if isinstance(result, DomainError):
                raise result
        return self._saved(result.contact_id, _READS, self.created_status if result.created else 200)

    @document(
        "Update the contact with an e-mail address",
        {200: _SAVED},
        body=_BODY,
        parameters=[OpenApiParameter("email", OpenApiTypes.STR, required=True)],
    )
    @contacts.mapping.patch
    def update_by_email(self, request: Request, **kwargs: Any) -> Response:
        """Set what is sent on the contact with the address."""
        email = request.query_params.get("email", "")
        return self._update(request, self._known_by(Identifier.EMAIL, email))

    @document("Add tags to contacts", {202: None}, body=_SELECTION)
    @action(detail=False, methods=["post"], url_path="contacts/tags", url_name="omnisend-tagging")
    def tag(self, request: Request, **kwargs: Any) -> Response:
        """Add tags to the contacts that are named; who is not known is ignored."""
        references, tags = parse_selection(object_body(request))
        changes = ContactChanges(tags=tags)
        tagging = [replace(each, update_matched=True, changes=changes) for each in references]
        with transaction.atomic():
            resolve_contacts(self.workspace.id, tagging)
        return Response(status=202)

    @document("Remove tags from contacts", {202: None}, body=_SELECTION)
    @tag.mapping.delete
    def untag(self, request: Request, **kwargs: Any) -> Response:
        """Remove tags from the contacts that are named; who is not known is ignored."""
        references, tags = parse_selection(object_body(request))
        with transaction.atomic():
            for contact in self._selected(references):
                untag_contact(self.workspace.id, contact, *tags)
        return Response(status=202)

    @document("Get a contact by its id, e-mail address or phone number", {200: _ANSWER})
    @action(detail=False, url_path=_PATH, url_name="omnisend-contact")
    def contact(self, request: Request, contact_id: str, **kwargs: Any) -> Response:
        """Return a contact."""
        return Response(render_contact(self._contact(contact_id)))

    @document("Update a contact; what is not sent stays", {200: _SAVED}, body=_BODY)
    @contact.mapping.patch
    def update(self, request: Request, contact_id: str, **kwargs: Any) -> Response:
        """Set what is sent; null removes it, tags are added."""
        return self._update(request, self._contact(contact_id))

    @document("Delete a contact; the events stay", {204: None})
    @contact.mapping.delete
    def destroy(self, request: Request, contact_id: str, **kwargs: Any) -> Response:
        """Delete a contact."""
        delete_contact(self.workspace.id, self._contact(contact_id))
        return Response(status=204)

    @document("Add tags to a contact", {200: _SAVED}, body=component("OmnisendTag", TAG_SCHEMA))
    @action(detail=False, methods=["post"], url_path=rf"{_PATH}/tags", url_name="omnisend-tags")
    def add_tags(self, request: Request, contact_id: str, **kwargs: Any) -> Response:
        """Add tags."""
        changes = ContactChanges(tags=parse_tags(object_body(request)))
        contact = update_contact(self.workspace.id, self._contact(contact_id), changes)
        return self._saved(contact.id, _READS)

    @document("Remove a tag from a contact", {204: None})
    @action(
        detail=False, methods=["delete"], url_path=rf"{_PATH}/tags/(?P<tag>[^/]+)", url_name="omnisend-tag"
    )
    def remove_tag(self, request: Request, contact_id: str, tag: str, **kwargs: Any) -> Response:
        """Remove a tag; one that the contact has not is no error."""
        untag_contact(self.workspace.id, self._contact(contact_id), tag)
        return Response(status=204)

    @document(
        "Add an identifier to a contact",
        {200: _SAVED},
        body=component("OmnisendIdentifier", IDENTIFIER_SCHEMA),
    )
    @action(detail=False, methods=["post"], url_path=rf"{_PATH}/identifiers", url_name="omnisend-identifiers")
    def add_identifier(self, request: Request, contact_id: str, **kwargs: Any) -> Response:
        """Add an identifier, which becomes the primary one of its kind, with what it says of its channels."""
        changes = parse_identifier(object_body(request))
        contact = update_contact(self.workspace.id, self._contact(contact_id), changes)
        return self._saved(contact.id, _READS)

    @document("List the members of a segment, newest first", {200: _LIST}, parameters=_MEMBER_PARAMETERS)
    @action(
        detail=False,
        url_path=r"segments/(?P<segment_id>[^/]+)/contacts",
        url_name="omnisend-segment-contacts",
    )
    def members(self, request: Request, segment_id: str, **kwargs: Any) -> Response:
        """Return a page of a segment's members, as the list of contacts does with `segmentID`."""
        self.need(_SEGMENT)
        found = parse_uuid(segment_id)
        if found is None:
            raise SegmentNotFound
        segment = get_segment(self.workspace.id, found)
        return self._page(request, {**request.query_params.dict(), "segmentID": str(segment.id)})

    def _update(self, request: Request, contact: Contact) -> Response:
        changes = parse_contact_changes(object_body(request), keep_email=self.keeps_email)
        contact = update_contact(
            self.workspace.id, contact, changes, taken_identifiers=self.taken_identifiers
        )
        return self._saved(contact.id, _READS_CHANGED)

    def _saved(self, contact_id: UUID, need: Need, status: int = 200) -> Response:
        """Answer with the contact; with its id alone to who may not read contacts."""
        if not self.may(need.scopes):
            return Response({"contactID": str(contact_id), "id": str(contact_id)}, status=status)
        return Response(self._rendered(get_contact(self.workspace.id, contact_id)), status=status)

    def _rendered(self, contact: Contact) -> dict[str, Any]:
        return render_contact(contact)

    def _contact(self, text: str) -> Contact:
        """Return the contact with an id, an e-mail address or a phone number. Raises ContactNotFound.

        The id that the vendor gave is an external id, with which its contacts are imported.
        """
        contact_id = parse_uuid(text)
        if contact_id is None:
            signs = {"@": Identifier.EMAIL, "+": Identifier.PHONE}
            kind = next((kind for sign, kind in signs.items() if sign in text), Identifier.EXTERNAL_ID)
            return self._known_by(kind, text)
        found = find(self.workspace.id, [contact_id]).by_id.get(contact_id)
        return get_contact(self.workspace.id, found or NO_ID)

    def _known_by(self, kind: str, text: str) -> Contact:
        known = find(self.workspace.id, identifiers=normalize_all([(kind, text)])).by_identifier
        for survivor in known.values():
            return get_contact(self.workspace.id, survivor)
        raise ContactNotFound

    def _selected(self, references: list[ContactReference]) -> list[Contact]:
        results = resolve_contacts(self.workspace.id, references)
        ids = {each.contact_id for each in results if not isinstance(each, DomainError)}
        return list(Contact.objects.in_workspace(self.workspace.id).filter(any_of("id", ids)).order_by("id"))

    def _found(self, parameters: Mapping[str, str]) -> Any:
        sent = {name: parameters[name] for name in ("email", "phone") if name in parameters}
        if tag := parameters.get("tag"):
            known = Tag.objects.in_workspace(self.workspace.id).filter(name=tag).first()
            sent["tagId"] = str(known.id if known else NO_ID)
        if segment := parameters.get("segmentID"):
            self.need(_SEGMENT)
            sent["segmentId"] = segment
        contacts: QuerySet[Contact] = Contact.objects.in_workspace(self.workspace.id).canonical()
        if status := parameters.get("status"):
            contacts = with_consent(contacts, self.workspace.id, "email", STATUSES[status])
        if since := parameters.get("updatedAtFrom"):
            contacts = contacts.filter(updated_at__gte=parse_timestamp(since))
        return ContactFilterSet(sent, contacts, request=self.request).qs

    def _paging(
        self, request: Request, page: list[UUID], limit: int, *, is_more: bool, is_back: bool
    ) -> dict[str, Any]:
        has_next = bool(page) and (is_more or is_back)
        has_previous = bool(page) and (is_more if is_back else "after" in request.query_params)
        cursors = {
            "after": str(page[-1]) if has_next else None,
            "before": str(page[0]) if has_previous else None,
        }
        return self.paging_answer(request, cursors, limit)

    def paging_answer(self, request: Request, cursors: dict[str, str | None], limit: int) -> dict[str, Any]:
        """Return what tells the pages beside this one: links."""
        asked: dict[str, str] = {
            name: str(value)
            for name, value in request.query_params.items()
            if name not in ("after", "before", "offset", "limit")
        }
        base = request.build_absolute_uri(request.path)
        links: dict[str, Any] = {"previous": None, "next": None}
        for name, cursor in (("previous", "before"), ("next", "after")):
            if (place := cursors[cursor]) is not None:
                links[name] = f"{base}?{urlencode({**asked, cursor: place, 'limit': str(limit)})}"
        return {**links, "limit": limit}


class OldContactViewSet(ContactViewSet):
    """Contacts, as v3 has them: answered in short, and an identifier that another has is ignored."""

    error_table = V3_ERRORS
    created_status = 200
    taken_identifiers = "ignore"
    keeps_email = True

    def _rendered(self, contact: Contact) -> dict[str, Any]:
        phone = {"phone": contact.phone} if contact.phone else {}
        return {"contactID": str(contact.id), "email": contact.email, **phone}


class DatedContactViewSet(ContactViewSet):
    """Contacts, as the versions have them that a header names: pages by cursors."""

    def paging_answer(self, request: Request, cursors: dict[str, str | None], limit: int) -> dict[str, Any]:
        """Return what tells the pages beside this one: cursors."""
        return {"limit": limit, "hasMore": cursors["after"] is not None, "cursors": cursors}
