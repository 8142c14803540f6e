"""Pages of contacts, by key or by number, in orders that indexes hold; totals that never count millions."""

import base64
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.core import exceptions
from django.core.cache import cache
from django.db.models import Exists, F, FilteredRelation, OuterRef, Q, QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from config.db.plans import force_custom_plan
from config.ids import parse_uuid
from contacts.api.filters import tagged
from contacts.api.serializers import ContactPageSerializer
from contacts.models import Contact, ContactScore, Identifier
from contacts.queries import planned_rows, with_details
from contacts.search_text import folded
from workspaces.api.strict import choice_parameter, integer_parameter, text_parameter
from workspaces.tenancy import TenantModel, TenantQuerySet

MAX_LIMIT = 200
EXACT_TOTAL = 10_000
_MAX_PAGE = 1_000_000
_ESTIMATE_SECONDS = 60


class ContactPagination(BasePagination):
    """Pages of contacts, by number or by key, with the total."""

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Return the page's contacts with what answers show of them. Raises ValidationError."""
        wanted = page_request(request, view.workspace.id)
        page, following = select_page(with_details(queryset, consents=False), wanted)
        total = total_of(queryset)
        self._pagination = {
            "page": None if wanted.after else wanted.page,
            "limit": wanted.limit,
            "total": total,
            "totalPages": -(-total // wanted.limit),
            "next": following,
        }
        return page

    def get_paginated_response(self, data: Any) -> Response:
        """Return the answer; `data` are the contacts."""
        return Response(ContactPageSerializer({"data": data, "pagination": self._pagination}).data)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        """Return what the OpenAPI document says of the parameters."""
        order = {"type": "string", "enum": ["asc", "desc"]}
        return [
            _parameter("page", {"type": "integer"}, "from 1 on"),
            _parameter("limit", {"type": "integer"}, f"1 to {MAX_LIMIT}, 50 by default"),
            _parameter("sortBy", {"type": "string", "enum": sorted(SORTS)}),
            _parameter("sortOrder", order),
            _parameter("after", {"type": "string"}, "page by key: `pagination.next` of the page before"),
        ]


def _parameter(name: str, schema: dict[str, Any], description: str = "") -> dict[str, Any]:
    described = {"description": description} if description else {}
    return {"name": name, "in": "query", "schema": schema, **described}


@dataclass(frozen=True)
class Order:
    """An order of the list: by a column, then by id; `kept_in` is the table whose index holds it."""

    kept_in: type[TenantModel]
    column: str
    is_folded: bool = False
    """Whether the index has the column in upper case, by code points."""
    relation: str = ""
    """From the contact to that table, where it has one row at most; who has none comes last, by id."""
    condition: dict[str, Any] = field(default_factory=dict)

    @property
    def value(self) -> Any:
        """The expression that the index begins with after the workspace."""
        path = f"own__{self.column}" if self.relation else self.column
        return folded(F(path)) if self.is_folded else F(path)

    @property
    def id(self) -> str:
        """The path to the contact's id in the table whose index holds the order."""
        return "own__contact_id" if self.relation else "id"


# What a client may sort by; `id` is the order of creation.
SORTS = {
    "createdAt": Order(Contact, "id"),
    "updatedAt": Order(Contact, "updated_at"),
    "firstName": Order(Contact, "first_name", is_folded=True),
    "lastName": Order(Contact, "last_name", is_folded=True),
    "email": Order(
        Identifier,
        "value",
        relation="identifiers",
        condition={"kind": Identifier.EMAIL, "is_primary": True},
    ),
    "score": Order(ContactScore, "points", relation="scores"),
}


@dataclass(frozen=True)
class Key:
    """Where a page ends: the last contact's id and its value in the order, None if it has none."""

    id: UUID
    value: Any = None


@dataclass(frozen=True)
class PageRequest:
    """Which page of the list a request wants."""

    workspace_id: UUID
    page: int
    limit: int
    sort_by: str
    is_descending: bool
    after: Key | None
    tag_id: UUID | None

    @property
    def order(self) -> Order:
        """The order asked for."""
        return SORTS[self.sort_by]

    @property
    def is_by_id(self) -> bool:
        """Whether the order is that of creation."""
        return self.order.column == "id"

    @property
    def offset(self) -> int:
        """How many contacts come before the page; a page by key needs none."""
        return 0 if self.after else (self.page - 1) * self.limit


def page_request(request: Request, workspace_id: UUID) -> PageRequest:
    """Read the parameters of the address. Raises ValidationError."""
    sort_by = choice_parameter(request, "sortBy", SORTS, "createdAt")
    order = choice_parameter(request, "sortOrder", {"asc": 1, "desc": 1}, "desc")
    return PageRequest(
        workspace_id=workspace_id,
        page=integer_parameter(request, "page", 1, highest=_MAX_PAGE),
        limit=integer_parameter(request, "limit", 50, highest=MAX_LIMIT),
        sort_by=sort_by,
        is_descending=order == "desc",
        after=_read_key(text_parameter(request, "after"), sort_by),
        tag_id=parse_uuid(text_parameter(request, "tagId")),
    )


@force_custom_plan()
def select_page(contacts: QuerySet[Contact], wanted: PageRequest) -> tuple[list[Contact], str | None]:
    """Return the page's contacts and the key after which the next page begins, None if it is the last."""
    found = _with_value(contacts, wanted)
    if wanted.order.relation and len(found) <= wanted.limit:
        found += _without_value(contacts, wanted, len(found))
    page = found[: wanted.limit]
    return page, _written_key(page[-1], wanted) if len(found) > wanted.limit else None


@force_custom_plan()
def total_of(contacts: QuerySet[Contact]) -> int:
    """Return how many there are: exact up to 10,000, above that the planner's estimate of the last minute."""
    if contacts.query.is_empty():
        return 0
    key = "contacts.total." + hashlib.sha256(str(contacts.query).encode(errors="replace")).hexdigest()
    estimate: int | None = cache.get(key)
    if estimate is not None:
        return estimate
    count = contacts.order_by()[: EXACT_TOTAL + 1].count()
    if count <= EXACT_TOTAL:
        return count
    estimate = max(planned_rows(contacts), count)
    cache.set(key, estimate, _ESTIMATE_SECONDS)
    return estimate


def _with_value(contacts: QuerySet[Contact], wanted: PageRequest) -> list[Contact]:
    """Return the page's contacts, and one more, of those that have a value in the order."""
    after = wanted.after
    if after is not None and after.value is None and wanted.order.relation:
        return []
    if wanted.is_by_id:
        ordered = _ordered(contacts, wanted, "id")
        ordered = ordered if after is None else _behind_id(ordered, after.id, wanted)
    else:
        ordered = _ordered(_valued(contacts, wanted), wanted, "sorted_by", "sorted_id")
        ordered = ordered if after is None else _behind_value(ordered, after, wanted)
    return list(ordered[wanted.offset : wanted.offset + wanted.limit + 1])


def _without_value(contacts: QuerySet[Contact], wanted: PageRequest, already: int) -> list[Contact]:
    """Return what the page lacks of those that have no value, who come last."""
    ordered = _ordered(contacts.exclude(Exists(_own_rows(wanted))), wanted, "id")
    if wanted.after is not None and wanted.after.value is None:
        ordered = _behind_id(ordered, wanted.after.id, wanted)
    skipped = (
        max(wanted.offset - _valued(contacts, wanted).count(), 0) if wanted.offset and not already else 0
    )
    return list(ordered[skipped : skipped + wanted.limit + 1 - already])


def _valued(contacts: QuerySet[Contact], wanted: PageRequest) -> QuerySet[Contact]:
    order = wanted.order
    if order.relation:
        condition = {"workspace_id": wanted.workspace_id, **order.condition}
        own = Q(**{f"{order.relation}__{name}": value for name, value in condition.items()})
        contacts = contacts.alias(own=FilteredRelation(order.relation, condition=own)).filter(
            own__isnull=False
        )
    return contacts.annotate(sorted_by=order.value, sorted_id=F(order.id))


def _own_rows(wanted: PageRequest) -> QuerySet[Any]:
    rows: TenantQuerySet[Any] = wanted.order.kept_in.objects.in_workspace(wanted.workspace_id)
    return rows.filter(contact_id=OuterRef("id"), **wanted.order.condition)


def _ordered(contacts: QuerySet[Contact], wanted: PageRequest, *columns: str) -> QuerySet[Contact]:
    sign = "-" if wanted.is_descending else ""
    return contacts.order_by(*(f"{sign}{column}" for column in dict.fromkeys(columns)))


def _behind_value(contacts: QuerySet[Contact], key: Key, wanted: PageRequest) -> QuerySet[Contact]:
    beyond = TupleLessThan if wanted.is_descending else TupleGreaterThan
    # One comparison of pairs is a range of the index; the same by OR would be a filter on all before it.
    return contacts.filter(beyond(Tuple(F("sorted_by"), F("sorted_id")), (key.value, key.id)))


def _behind_id(contacts: QuerySet[Contact], key: UUID, wanted: PageRequest) -> QuerySet[Contact]:
    beyond = "lt" if wanted.is_descending else "gt"
    if wanted.tag_id is not None:
        # The planner derives no range of one column from a range of its equal: the tag's index is told itself.
        reach = {f"contact_id__{beyond}": key}
        contacts = contacts.filter(id__in=tagged(wanted.workspace_id, wanted.tag_id, **reach))
    return contacts.filter(**{f"id__{beyond}": key})


def _written_key(last: Contact, wanted: PageRequest) -> str:
    """Return the key of a page's last contact as clients carry it; in the order of creation that is its id."""
    if wanted.is_by_id:
        return str(last.id)
    value = getattr(last, "sorted_by", None)
    return written_key(wanted.sort_by, None if value is None else str(value), str(last.id))


def written_key(*parts: Any) -> str:
    """Return a key as clients carry it: the name of the order, the value in it, the contact's id."""
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def _read_key(text: str | None, sort_by: str) -> Key | None:
    if text is None:
        return None
    if sort_by == "createdAt":
        if identifier := parse_uuid(text):
            return Key(identifier)
        raise ValidationError({"after": ["Must be the id of a contact."]})
    try:
        sorted_by, value, contact_id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        identifier = parse_uuid(contact_id)
        if sorted_by != sort_by or identifier is None or not isinstance(value, str | None):
            raise ValueError
        return Key(identifier, _column_value(SORTS[sort_by], value))
    except (ValueError, TypeError, RecursionError, exceptions.ValidationError):
        raise ValidationError({"after": ["Must be the `next` of a page in the same order."]}) from None


def _column_value(order: Order, text: str | None) -> Any:
    """Return a key's value as the column has it. Raises ValueError or Django's ValidationError."""
    if text is None:
        if not order.relation:
            raise ValueError
        return None
    if not text.isprintable() and (
        "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text)
    ):
        raise ValueError
    return order.kept_in._meta.get_field(order.column).clean(text, None)  # type: ignore[union-attr]  # a column
