"""Sure Send's endpoints of people: list, search, create, read, update, delete, and their tags."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from msgspec import to_builtins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from contacts.api.filters import ContactFilterSet
from contacts.crud import delete_contact, find_contact, untag_contact, update_contact
from contacts.errors import ContactNotFound
from contacts.identity.resolution import resolve_contacts
from contacts.models import Contact
from contacts.references import ContactChanges
from dialects.body_checks import FieldProblem
from dialects.suresend.errors import InvalidBody, error_table
from dialects.suresend.queries import persons
from dialects.suresend.serializers import (
    PERSON_SCHEMA,
    TAGS_SCHEMA,
    PersonAnswer,
    SureSendErrorSerializer,
    parse_person,
    parse_person_changes,
    parse_tags,
    render_person,
)
from events.api.shapes import json_schema
from workspaces.api.base import WorkspaceViewSet, object_body
from workspaces.api.openapi import component
from workspaces.authentication.schemes import BearerAuthentication

DEFAULT_LIMIT: Final = 25
MAX_LIMIT: Final = 100
_ANSWER = component("SureSendPerson", json_schema(PersonAnswer))
_LIST = component(
    "SureSendPeople",
    {
        "type": "object",
        "properties": {
            "people": {"type": "array", "items": json_schema(PersonAnswer)},
            "next": {"type": ["string", "null"], "description": "the next page's `after`"},
        },
        "required": ["people", "next"],
    },
)
_REFUSALS = {
    401: "No valid credential",
    403: "The credential lacks the scope",
    404: "No such person",
    422: "The body or a parameter is invalid",
    429: "Too many requests",
}
_SEARCH = [
    OpenApiParameter("email", OpenApiTypes.STR, description="the whole address"),
    OpenApiParameter("phone", OpenApiTypes.STR, description="the whole number"),
    OpenApiParameter("query", OpenApiTypes.STR, description="words of a name or an identifier"),
]
_PAGE = [
    OpenApiParameter("limit", OpenApiTypes.INT, description=f"1 to {MAX_LIMIT}, by default {DEFAULT_LIMIT}"),
    OpenApiParameter("after", OpenApiTypes.UUID, description="`next` of the page before"),
]


Action = TypeVar("Action", bound=Callable[..., Any])


def _document(
    summary: str, answer: Any, *, status: int = 200, body: Any = None, **options: Any
) -> Callable[[Action], Action]:
    responses = {status: OpenApiResponse(answer, description=summary)} if answer else {status: None}
    refusals = {
        code: OpenApiResponse(SureSendErrorSerializer, description=why) for code, why in _REFUSALS.items()
    }
    document: Callable[[Action], Action] = extend_schema(
        tags=["Sure Send"], summary=summary, request=body, responses={**responses, **refusals}, **options
    )
    return document


class PersonViewSet(WorkspaceViewSet):
    """People."""

    queryset = Contact.objects.none()
    authentication_classes = (BearerAuthentication,)
    error_table = error_table
    scopes = {
        "GET": "contacts:read",
        "POST": "contacts:write contacts:read",
        "PUT": "contacts:write contacts:read",
        "DELETE": "contacts:write",
    }

    def vendor_rate_of(self, request: Request) -> str:
        """Return the documented limit: a system that names itself may send twice as much."""
        return "600/minute" if request.META.get("HTTP_X_SYSTEM_ID", "").strip() else "300/minute"

    @_document("List people, newest first", _LIST, parameters=[*_SEARCH, *_PAGE])
    @action(detail=False, url_path="people", url_name="suresend-people")
    def people(self, request: Request) -> Response:
        """List people, those that the parameters find."""
        return self._list(request)

    @_document(
        "Create a person; one who is known by email or phone is returned unchanged",
        _ANSWER,
        status=201,
        body=component("SureSendPersonBody", PERSON_SCHEMA),
    )
    @people.mapping.post
    def create(self, request: Request) -> Response:
        """Create a person: 201; or return who is known: 200."""
        (result,) = resolve_contacts(self.workspace.id, [parse_person(object_body(request))])
        if isinstance(result, DomainError):
            raise result
        return Response(self._render(result.contact_id), status=201 if result.created else 200)

    @_document("Search people", _LIST, parameters=[*_SEARCH, *_PAGE])
    @action(detail=False, url_path="people/search", url_name="suresend-search")
    def search(self, request: Request) -> Response:
        """Return the people that the parameters find. Raises InvalidBody without any."""
        if not any(request.query_params.get(each.name, "").strip() for each in _SEARCH):
            raise InvalidBody([FieldProblem("query", "required_choice", "email, phone or query is required")])
        return self._list(request)

    @_document("Get a person", _ANSWER)
    @action(detail=False, url_path=r"people/(?P<person_id>[^/]+)", url_name="suresend-person")
    def person(self, request: Request, person_id: str) -> Response:
        """Return a person."""
        return Response(self._render(self._contact(person_id).id))

    @_document(
        "Update a person; what is not sent stays",
        _ANSWER,
        body=component("SureSendPersonChanges", PERSON_SCHEMA),
    )
    @person.mapping.put
    def update(self, request: Request, person_id: str) -> Response:
        """Set what is sent; null removes it."""
        changes = parse_person_changes(object_body(request))
        contact = update_contact(self.workspace.id, self._contact(person_id), changes)
        return Response(self._render(contact.id))

    @_document("Delete a person; the events stay", None, status=204)
    @person.mapping.delete
    def destroy(self, request: Request, person_id: str) -> Response:
        """Delete a person."""
        delete_contact(self.workspace.id, self._contact(person_id))
        return Response(status=204)

    @_document("Add tags to a person", _ANSWER, body=component("SureSendTags", TAGS_SCHEMA))
    @action(
        detail=False, methods=["post"], url_path=r"people/(?P<person_id>[^/]+)/tags", url_name="suresend-tags"
    )
    def add_tags(self, request: Request, person_id: str) -> Response:
        """Add tags."""
        changes = ContactChanges(tags=parse_tags(object_body(request)))
        return Response(self._render(update_contact(self.workspace.id, self._contact(person_id), changes).id))

    @_document("Remove a tag from a person", _ANSWER)
    @action(
        detail=False,
        methods=["delete"],
        url_path=r"people/(?P<person_id>[^/]+)/tags/(?P<tag>[^/]+)",
        url_name="suresend-tag",
    )
    def remove_tag(self, request: Request, person_id: str, tag: str) -> Response:
        """Remove a tag; one that the person has not is no error."""
        contact = untag_contact(self.workspace.id, self._contact(person_id), tag)
        # Who may not read contacts learns no more than that it is done.
        return Response(self._render(contact.id)) if self.may("contacts:read") else Response(status=204)

    def _contact(self, person_id: str) -> Contact:
        """Return a contact by its id only. Raises ContactNotFound."""
        if parse_uuid(person_id) is None:
            raise ContactNotFound
        return find_contact(self.workspace, person_id)

    def _render(self, contact_id: UUID) -> Any:
        return to_builtins(render_person(persons(self.workspace.id, [contact_id])[contact_id]))

    def _list(self, request: Request) -> Response:
        limit = _limit(request.query_params)
        contacts = self._found(request)
        if after := request.query_params.get("after"):
            contacts = contacts.filter(id__lt=parse_uuid(after) or NO_ID)
        page = list(contacts.order_by("-id").values_list("id", flat=True)[: limit + 1])
        shown, more = page[:limit], len(page) > limit
        rendered = persons(self.workspace.id, shown)
        people = [
            to_builtins(render_person(rendered[contact_id])) for contact_id in shown if contact_id in rendered
        ]
        return Response({"people": people, "next": str(shown[-1]) if more else None})

    def _found(self, request: Request) -> Any:
        names = {"email": "email", "phone": "phone", "query": "search"}
        sent = {names[name]: value for name in names if (value := request.query_params.get(name, "").strip())}
        contacts = Contact.objects.in_workspace(self.workspace.id).canonical()
        return ContactFilterSet(sent, contacts, request=request).qs


def _limit(parameters: Mapping[str, str]) -> int:
    text = parameters.get("limit", str(DEFAULT_LIMIT))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_LIMIT:
        raise InvalidBody([FieldProblem("limit", "out_of_range", f"must be 1 to {MAX_LIMIT}")])
    return int(text)
