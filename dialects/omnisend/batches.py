"""Omnisend's batches of contacts and of events: recorded in the request, and told of afterwards.

A batch is a row of `contacts.Import`, as a file of contacts or events is; the requests of its items are not kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, ClassVar, Final
from uuid import UUID

from django.db import transaction
from django.http import HttpResponse
from django.utils.http import urlencode
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from config import clock
from config.db.errors import storable_text
from config.errors import DomainError
from config.http.rendering import iso_seconds
from config.ids import NO_ID, parse_uuid
from contacts.identity.resolution import resolve_contacts
from contacts.models import Import
from contacts.references import ContactReference
from dialects.body_checks import (
    Check,
    FieldProblem,
    described,
    form,
    listed,
    optional,
    record,
    schema_of,
    text,
)
from dialects.omnisend.base import OmnisendAccess, document
from dialects.omnisend.contact_bodies import parse_contact
from dialects.omnisend.errors import (
    V3_ERRORS,
    V5_ERRORS,
    BatchNotFound,
    InvalidTrack,
    NotServed,
    field_problems,
    old_name,
)
from dialects.omnisend.pages import page_bounds
from dialects.omnisend.serializers import parse_event, parse_old_event
from events.api.ingest import IngestViewSet, json_answer
from events.errors import DefinitionNotFound
from events.models import EventDefinition
from events.stream.coercion import is_date
from events.stream.group_commit import Submission
from events.stream.idempotency import Answer
from events.stream.item_formats import ItemFormat, ParsedItems, UnparsedItem, parse_items
from events.stream.types import IncomingEvent, Outcome, SchemaPolicy
from workspaces.api.base import ErrorTableMixin, object_body
from workspaces.api.errors import ErrorTable
from workspaces.api.openapi import component
from workspaces.scopes import Need

MAX_ITEMS: Final = 1000
_MAX_MESSAGE: Final = 500
# What tells these imports from those of files, whose fingerprints are hashes.
FINGERPRINT: Final = "omnisend-batch"
ENDPOINTS: Final = ("contacts", "events")
# All are finished when they are answered.
_STATUSES: Final = ("pending", "inProgress", "finished", "stopped")
_FILTERS: Final = ("endpoint", "status", "dateFrom", "dateTo")
_NEEDS = {
    (method, endpoint): Need(method, f"{endpoint}:{scope}", f"a batch of {endpoint}")
    for method, scope in (("POST", "write"), ("GET", "read"))
    for endpoint in ENDPOINTS
}


def _any_item(path: str, value: Any) -> Iterator[FieldProblem]:
    """Let everything pass: each item is looked at by itself."""
    yield from ()


_BATCH: Check = record(
    {
        "method": form(("POST", "PUT").__contains__, "must be POST or PUT", enum=["POST", "PUT"]),
        "endpoint": text(32, is_blank_allowed=False),
        "eventID": optional(text(255)),
        "items": listed(described(_any_item, {"type": "object"}), MAX_ITEMS),
    },
    required=("method", "endpoint", "items"),
)
_DAY = form(is_date, "must be a date, YYYY-MM-DD", format="date")
_BATCH_FILTERS: Check = record(
    {
        "status": form(_STATUSES.__contains__, f"must be one of {', '.join(_STATUSES)}"),
        "dateFrom": _DAY,
        "dateTo": _DAY,
    }
)
_CREATED = component(
    "OmnisendCreatedBatch",
    {
        "type": "object",
        "properties": {"batchID": {"type": "string"}, "totalCount": {"type": "integer"}},
        "required": ["batchID", "totalCount"],
    },
)
_STATUS = component(
    "OmnisendBatch",
    {
        "type": "object",
        "properties": {
            **{
                name: {"type": "string"}
                for name in ("batchID", "method", "endpoint", "status", "createdAt", "startedAt", "endedAt")
            },
            **{name: {"type": "integer"} for name in ("totalCount", "finishedCount", "errorsCount")},
        },
        "required": ["batchID", "endpoint", "status"],
    },
)
_LIST = component(
    "OmnisendBatches",
    {
        "type": "object",
        "properties": {
            "batches": {"type": "array", "items": {"type": "object"}},
            "paging": {"type": "object"},
        },
        "required": ["batches", "paging"],
    },
)
_ITEM = component(
    "OmnisendBatchItem",
    {"type": "object", "properties": {"itemID": {"type": "string"}, "responseCode": {"type": "integer"}}},
)
_PATH = r"batches/(?P<batch_id>[^/]+)"


def _read(parse: Any, item: Any) -> Any:
    """Return an item as the core takes it, or the error that refuses it."""
    try:
        return parse(_object(item))
    except InvalidTrack as error:
        return error


def _object(item: Any) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise InvalidTrack([FieldProblem("", "unsupported_type", "must be an object")])
    return item


class V5Items(ItemFormat):
    """Events as v5 has them."""

    name = "omnisend-v5"

    def parse(self, item: Any, shared: Mapping[str, Any], received_at: datetime) -> IncomingEvent:
        """Return the event of an item."""
        return parse_event(_object(item))

    def cause(self, error: Exception) -> tuple[str, str]:
        """Return the code and what is wrong with which field."""
        return super().cause(error)[0], self.message(error)

    def message(self, error: Exception) -> str:
        """Return what is wrong, in a line: it may name a field as its sender spelled it."""
        problems = [f"{self.field_name(each.field)} {each.message}" for each in field_problems(error)]
        return " ".join(storable_text("; ".join(problems or [str(error)]), _MAX_MESSAGE).split())

    def field_name(self, field: str) -> str:
        """Return what the version calls a field, by its path."""
        return field

    def event_name(self, item: Mapping[str, Any]) -> object:
        """Return the event's name."""
        return item.get("eventName")


class V3Items(V5Items):
    """Events as v3 has them; the batch may name the event of all."""

    name = "omnisend-v3"
    schema_policy = SchemaPolicy.LEARNED

    def parse(self, item: Any, shared: Mapping[str, Any], received_at: datetime) -> IncomingEvent:
        """Return the event of an item."""
        return parse_old_event(_object(item), shared.get("name"))

    def field_name(self, field: str) -> str:
        """Return what the version calls a field, by its path."""
        return old_name(field)

    def event_name(self, item: Mapping[str, Any]) -> object:
        """Return the event's name."""
        return item.get("systemName") or item.get("name")


V5_ITEMS, V3_ITEMS = V5Items(), V3Items()


class BatchViewSet(OmnisendAccess, IngestViewSet):
    """Batches, as v5 has them."""

    queryset = Import.objects.none()
    error_table: ClassVar[ErrorTable] = V5_ERRORS
    needs = tuple(_NEEDS.values())
    item_format: ClassVar[V5Items] = V5_ITEMS
    created_status: ClassVar[int] = 201
    event_status: ClassVar[int] = 202

    def get_authenticators(self) -> Any:
        """Ask the database who it is: not every batch records events, which verifies a credential that is cached."""
        return ErrorTableMixin.get_authenticators(self)

    @document(
        "List batches, newest first",
        {200: _LIST},
        parameters=[
            OpenApiParameter("endpoint", OpenApiTypes.STR, enum=[*ENDPOINTS]),
            OpenApiParameter("status", OpenApiTypes.STR, enum=[*_STATUSES]),
            OpenApiParameter("dateFrom", OpenApiTypes.DATE, description="made on this day (UTC) or later"),
            OpenApiParameter("dateTo", OpenApiTypes.DATE, description="made on this day (UTC) or before"),
            OpenApiParameter("limit", OpenApiTypes.INT),
            OpenApiParameter("offset", OpenApiTypes.INT),
        ],
    )
    @action(detail=False, url_path="batches", url_name="omnisend-batches")
    def batches(self, request: Request, **kwargs: Any) -> Response:
        """Return the batches of the endpoint; without one, those that the credential may read."""
        limit, offset = page_bounds(request.query_params)
        rows = list(self._found(request.query_params).order_by("-id")[offset:][: limit + 1])
        parameters = request.query_params.dict()
        asked: dict[str, str | int] = {name: value for name, value in parameters.items() if name in _FILTERS}
        base = request.build_absolute_uri(request.path)

        def link(start: int) -> str:
            return f"{base}?{urlencode({**asked, 'limit': limit, 'offset': start})}"

        paging = {
            "limit": limit,
            "offset": offset,
            "next": link(offset + limit) if len(rows) > limit else None,
            "previous": link(max(offset - limit, 0)) if offset else None,
        }
        return Response({"batches": [_render(row) for row in rows[:limit]], "paging": paging})

    @document(
        "Record a batch of contacts or events",
        {200: _CREATED, 201: _CREATED},
        body=component("OmnisendBatchBody", schema_of(_BATCH)),
        parameters=[OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER)],
    )
    @batches.mapping.post
    def create(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Record each item by itself; of those that are refused, `items` says why."""
        sent = object_body(request)
        if isinstance(sent.get("endpoint"), str) and sent["endpoint"] in _OUTSIDE:
            # Whatever else is wrong with it.
            raise NotServed
        if problems := [*_BATCH("", sent)]:
            raise InvalidTrack(problems)
        self._need("POST", sent["endpoint"])
        if not sent["items"]:
            raise InvalidTrack([FieldProblem("items", "required", "must not be empty")])
        if sent["endpoint"] == "events":
            return self.record(request, self._submission)
        key = request.META.get("HTTP_IDEMPOTENCY_KEY")
        answer: Any = (
            self._save_contacts(request)
            if key is None
            else self._answer_once(key, self._save_contacts, request)
        )
        created: HttpResponse = answer
        return created

    @document("Get a batch", {200: _STATUS})
    @action(detail=False, url_path=_PATH, url_name="omnisend-batch")
    def batch(self, request: Request, batch_id: str, **kwargs: Any) -> Response:
        """Return how many items there were, and how many were refused."""
        return Response(_render(self._row(batch_id)))

    @document("List the items of a batch", {200: _STATUS})
    @action(detail=False, url_path=rf"{_PATH}/items", url_name="omnisend-batch-items")
    def items(self, request: Request, batch_id: str, **kwargs: Any) -> Response:
        """Return what became of each item, by its place in the batch: `errors`, and `responses`, the others."""
        row = self._row(batch_id)
        items = self._items(row)
        return Response(
            {
                **_render(row),
                "errors": [each for each in items if "response" in each],
                "responses": [each for each in items if "response" not in each],
            }
        )

    @document("Get an item of a batch", {200: _ITEM})
    @action(detail=False, url_path=rf"{_PATH}/items/(?P<item_id>[^/]+)", url_name="omnisend-batch-item")
    def item(self, request: Request, batch_id: str, item_id: str, **kwargs: Any) -> Response:
        """Return what became of one item."""
        row = self._row(batch_id)
        found = next((each for each in self._items(row) if each["itemID"] == item_id), None)
        if found is None:
            raise BatchNotFound
        return Response({"batchID": str(row.id), "method": _method(row), "endpoint": row.kind, **found})

    def _submission(self, request: Request) -> Submission:
        sent = object_body(request)
        items = parse_items(self.item_format, sent["items"], clock.now(), shared=self.shared_of(sent))
        answer = partial(self._recorded, sent["method"], items)
        return self.submission_of(request, items.events, self.item_format.schema_policy, answer, items=items)

    def shared_of(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Return what a batch of events says of all its items."""
        return {}

    @transaction.atomic
    def _save_contacts(self, request: Request, **kwargs: Any) -> Response:
        sent = object_body(request)
        parsed = [_read(parse_contact, item) for item in sent["items"]]
        references = [each for each in parsed if isinstance(each, ContactReference)]
        results = iter(resolve_contacts(self.workspace.id, references))
        outcomes = [each if isinstance(each, DomainError) else next(results) for each in parsed]
        errors = {
            place: self.item_format.message(each)
            for place, each in enumerate(outcomes)
            if isinstance(each, DomainError)
        }
        made = sum(not isinstance(each, DomainError) and each.created for each in outcomes)
        return Response(
            _keep(self.workspace.id, sent["method"], Import.Kind.CONTACTS, len(outcomes), made, errors),
            status=self.created_status,
        )

    def _recorded(
        self,
        method: str,
        items: ParsedItems,
        outcomes: Sequence[Outcome],
        contacts: Mapping[UUID, Any],
    ) -> Answer:
        """Keep what became of a batch of events, in the transaction that records them."""
        results = iter(outcomes)
        errors: dict[int, str] = {}
        made = 0
        for place, each in enumerate(items.results):
            error: Exception | None
            if isinstance(each, UnparsedItem):
                error = each.error
            else:
                outcome = next(results)
                error, made = outcome.error, made + (outcome.status == "recorded")
            if error is not None:
                errors[place] = self.item_format.message(error)
        kept = _keep(self.workspace.id, method, Import.Kind.EVENTS, len(items.results), made, errors)
        return json_answer(self.created_status, kept)

    def _items(self, row: Import) -> list[dict[str, Any]]:
        errors = dict(line.split(": ", 1) for line in row.error.splitlines())
        code = self.event_status if row.kind == Import.Kind.EVENTS else 200
        return [
            {"itemID": place, "status": "finished", "responseCode": 400, "response": {"error": errors[place]}}
            if place in errors
            else {"itemID": place, "status": "finished", "responseCode": code}
            for place in map(str, range(row.rows))
        ]

    def _found(self, parameters: Mapping[str, str]) -> Any:
        """Return the batches that the parameters ask for. Raises InvalidTrack."""
        if problems := [*_BATCH_FILTERS("", parameters)]:
            raise InvalidTrack(problems)
        if (endpoint := parameters.get("endpoint")) is not None:
            self._need("GET", endpoint)
        kinds = [kind for kind in ENDPOINTS if endpoint in (None, kind) and self.may(f"{kind}:read")]
        rows = self._rows().filter(kind__in=kinds)
        if parameters.get("status", "finished") != "finished":
            return rows.none()
        if (first := parameters.get("dateFrom")) is not None:
            rows = rows.filter(started_at__date__gte=first)
        if (last := parameters.get("dateTo")) is not None:
            rows = rows.filter(started_at__date__lte=last)
        return rows

    def _need(self, method: str, endpoint: str) -> None:
        if endpoint in _OUTSIDE:
            raise NotServed
        need = _NEEDS.get((method, endpoint))
        if need is None:
            raise InvalidTrack(
                [FieldProblem("endpoint", "invalid_format", f"must be one of {', '.join(ENDPOINTS)}")]
            )
        self.need(need)

    def _rows(self) -> Any:
        return Import.objects.in_workspace(self.workspace.id).filter(fingerprint=FINGERPRINT)

    def _row(self, batch_id: str) -> Import:
        row: Import | None = self._rows().filter(id=parse_uuid(batch_id) or NO_ID).first()
        if row is None:
            raise BatchNotFound
        self._need("GET", row.kind)
        return row


class OldBatchViewSet(BatchViewSet):
    """Batches, as v3 has them: `eventID` may name the event of all items."""

    error_table = V3_ERRORS
    item_format = V3_ITEMS
    created_status = 200
    event_status = 204

    def shared_of(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Return the name of the event that `eventID` names. Raises DefinitionNotFound for an unknown one."""
        if not sent.get("eventID"):
            return {}
        definitions = EventDefinition.objects.in_workspace(self.workspace.id).active()
        known = definitions.filter(id=parse_uuid(sent["eventID"]) or NO_ID).first()
        if known is None:
            raise DefinitionNotFound
        return {"name": known.name}


# What the vendor takes in batches besides.
_OUTSIDE = ("orders", "products", "categories", "carts")


def _keep(
    workspace_id: UUID, method: str, kind: Import.Kind, total: int, made: int, errors: Mapping[int, str]
) -> dict[str, Any]:
    """Store what became of a batch, with a line for each item that was refused. Returns its id and size."""
    now = clock.now()
    row = Import.objects.create(
        workspace_id=workspace_id,
        kind=kind,
        name=f"Omnisend batch, {method}",
        fingerprint=FINGERPRINT,
        effects=Import.Effects.ALL,
        position=total,
        size=total,
        recorded=made,
        known=total - made - len(errors),
        refused=len(errors),
        error="\n".join(f"{place}: {message}" for place, message in errors.items()),
        status=Import.Status.DONE,
        started_at=now,
        finished_at=now,
    )
    return {"batchID": str(row.id), "totalCount": total}


def _method(row: Import) -> str:
    return row.name.rpartition(" ")[2]


def _render(row: Import) -> dict[str, Any]:
    return {
        "batchID": str(row.id),
        "method": _method(row),
        "endpoint": row.kind,
        "status": "finished",
        "createdAt": iso_seconds(row.started_at),
        "startedAt": iso_seconds(row.started_at),
        "endedAt": iso_seconds(row.finished_at or row.started_at),
        "totalCount": row.rows,
        "finishedCount": row.rows,
        "errorsCount": row.refused,
    }
