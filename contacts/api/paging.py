"""Pages of contacts: by key where the order allows, else by number; totals that never count millions."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core.cache import cache
from django.db.models import F, OuterRef, QuerySet, Subquery
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request

from config.ids import parse_uuid
from contacts.api.filters import SORTS
from contacts.api.shapes import primary_identifier
from contacts.models import Contact, ContactScore, Identifier
from workspaces.api.strict import choice_parameter, integer_parameter, text_parameter

MAX_LIMIT = 200
EXACT_TOTAL = 10_000
_MAX_PAGE = 1_000_000
_ESTIMATE_SECONDS = 60


@dataclass(frozen=True)
class PageRequest:
    """Which page of the list a request wants."""

    page: int
    limit: int
    sort_by: str
    is_descending: bool
    after: UUID | None

    @property
    def offset(self) -> int:
        """How many contacts come before the page; a page by key needs none."""
        return 0 if self.after else (self.page - 1) * self.limit


def page_request(request: Request) -> PageRequest:
    """Read the parameters of the address. Raises ValidationError."""
    sort_by = choice_parameter(request, "sortBy", SORTS, "createdAt")
    order = choice_parameter(request, "sortOrder", {"asc": 1, "desc": 1}, "desc")
    return PageRequest(
        page=integer_parameter(request, "page", 1, highest=_MAX_PAGE),
        limit=integer_parameter(request, "limit", 50, highest=MAX_LIMIT),
        sort_by=sort_by,
        is_descending=order == "desc",
        after=_after(request, sort_by),
    )


def select_page(contacts: QuerySet[Contact], wanted: PageRequest) -> tuple[list[Contact], UUID | None]:
    """Return the page's contacts and the key after which the next page begins, None if it is the last."""
    ordered = _ordered(contacts, wanted)
    if wanted.after:
        ordered = ordered.filter(**{"id__lt" if wanted.is_descending else "id__gt": wanted.after})
    found = list(ordered[wanted.offset : wanted.offset + wanted.limit + 1])
    has_more = len(found) > wanted.limit
    page = found[: wanted.limit]
    return page, page[-1].id if has_more and wanted.sort_by == "createdAt" else None


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
    estimate = max(_planned_rows(contacts), count)
    cache.set(key, estimate, _ESTIMATE_SECONDS)
    return estimate


def _after(request: Request, sort_by: str) -> UUID | None:
    text = text_parameter(request, "after")
    if text is None:
        return None
    key = parse_uuid(text)
    if key is None:
        raise ValidationError({"after": ["Must be the id of a contact."]})
    if sort_by != "createdAt":
        raise ValidationError({"after": ["Pages by key are sorted by createdAt."]})
    return key


def _ordered(contacts: QuerySet[Contact], wanted: PageRequest) -> QuerySet[Contact]:
    column = SORTS[wanted.sort_by]
    if column == "sort_email":
        contacts = contacts.annotate(sort_email=primary_identifier(Identifier.EMAIL))
    elif column == "sort_score":
        contacts = contacts.annotate(sort_score=_score())
    names = [column] if column == "id" else [column, "id"]
    if wanted.is_descending:
        return contacts.order_by(
            *(F(name).desc(nulls_last=True) if name != "id" else "-id" for name in names)
        )
    return contacts.order_by(*(F(name).asc(nulls_last=True) if name != "id" else "id" for name in names))


def _score() -> Subquery:
    own = ContactScore.objects.filter(workspace_id=OuterRef("workspace_id"), contact_id=OuterRef("id"))
    return Subquery(own.values("points")[:1])


def _planned_rows(contacts: QuerySet[Contact]) -> int:
    plan: list[dict[str, Any]] = json.loads(contacts.order_by().explain(format="json"))
    return int(plan[0]["Plan"]["Plan Rows"])
