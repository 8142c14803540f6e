"""Segment's endpoints: calls one by one and in batches, and what its browser client asks for besides."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from config import clock
from config.errors import TryAgain
from contacts.merging.same_person import merge_same_person
from dialects.fallback import UnknownRouteView
from dialects.segment.authentication import WriteKeyAuthentication
from dialects.segment.batches import log_refused, parse_batch
from dialects.segment.errors import SEGMENT_ERRORS
from dialects.segment.mapping import CALLS
from dialects.segment.parsers import AnyMediaType
from dialects.segment.serializers import (
    BATCH_SCHEMA,
    CALL_SCHEMA,
    SegmentAnswerSerializer,
    SegmentErrorSerializer,
    check_batch_size,
    check_call_size,
    parse_call,
)
from events.api.ingest import IngestViewSet, json_answer
from events.models import Event
from events.stream.group_commit import Submission
from events.stream.idempotency import Answer
from events.stream.item_formats import ParsedItems
from events.stream.same_persons import SamePerson, same_persons
from events.stream.types import IncomingEvent, Outcome, SchemaPolicy
from workspaces.api.base import ErrorTableMixin, actor_of, object_body
from workspaces.api.openapi import component
from workspaces.authentication.schemes import BearerAuthentication
from workspaces.scopes import Need

_KIND_OF_LETTER = {kind[0]: kind for kind in CALLS}
CALL_PATH = rf"(?P<call>{'|'.join((*CALLS, *_KIND_OF_LETTER))})"
BATCH_PATH = r"(?P<batch>batch|import|b)"
_DONE = {"success": True}
MAX_MERGES = 100
"""Merges that follow from one request; further ones wait until the client comes again."""
_REFUSALS: dict[int, Any] = {
    **dict.fromkeys((400, 401, 403, 409, 413, 415, 429, 503), SegmentErrorSerializer),
    # At the root others answer it.
    404: OpenApiResponse(description="Another word in the path"),
}
_KEY = OpenApiParameter("Idempotency-Key", OpenApiTypes.STR, OpenApiParameter.HEADER)
_MERGES = Need(
    "POST",
    "contacts:write",
    "an alias or an anonymousId makes somebody who has more than anonymous ids another contact's part,"
    " else the two stay apart",
)


_Parsed = tuple[Sequence[IncomingEvent], ParsedItems | None]


class CallViewSet(IngestViewSet):
    """Calls: who somebody is, what they did, which page they saw, to what they belong."""

    queryset = Event.objects.none()
    authentication_classes = (BearerAuthentication, WriteKeyAuthentication)
    content_negotiation_class = AnyMediaType
    error_table = SEGMENT_ERRORS
    scopes = {"POST": "events:write"}
    needs = (_MERGES,)
    vendor_rate = "1000/second"
    # Segment's, then RudderStack's: those of a repeated call among them.
    request_headers = (
        "X-Retry-Count",
        "AnonymousId",
        "SentAt",
        "Rsa-Recovered",
        "Rsa-Retry-Attempt",
        "Rsa-Retry-Reason",
        "Rsa-Since-First-Attempt",
        "Rsa-Since-Last-Attempt",
    )

    @extend_schema(
        tags=["Segment"],
        summary="Send a call",
        parameters=[
            OpenApiParameter(
                "call", OpenApiTypes.STR, OpenApiParameter.PATH, enum=[*CALLS, *_KIND_OF_LETTER]
            ),
            _KEY,
        ],
        request=component("SegmentCall", CALL_SCHEMA),
        responses={200: SegmentAnswerSerializer, **_REFUSALS},
    )
    @action(detail=False, methods=["post"], url_path=CALL_PATH, url_name="segment-call")
    def send_call(self, request: Request, call: str, **kwargs: Any) -> HttpResponse:
        """Record a call, all or nothing."""
        return self._record(request, partial(_parse_call, _KIND_OF_LETTER.get(call, call)))

    @extend_schema(
        tags=["Segment"],
        summary="Send a batch of calls",
        parameters=[
            OpenApiParameter("batch", OpenApiTypes.STR, OpenApiParameter.PATH, enum=["batch", "import", "b"]),
            _KEY,
        ],
        request=component("SegmentBatch", BATCH_SCHEMA),
        responses={200: SegmentAnswerSerializer, **_REFUSALS},
    )
    @action(detail=False, methods=["post"], url_path=BATCH_PATH, url_name="segment-batch")
    def send_batch(self, request: Request, **kwargs: Any) -> HttpResponse:
        """Record a batch of calls, each by itself: the clients cannot be told of single ones."""
        return self._record(request, _parse_batch)

    def _record(self, request: Request, parse: Callable[[Request], _Parsed]) -> HttpResponse:
        """Record a request's calls, then merge whom they say to be one person.

        A merge takes locks of its own, before those of contacts. Where it fails, and where there are many, the client
        is told to come again: what is recorded is a duplicate then, and tells of those who are apart still.
        """
        same: list[SamePerson] = []
        answer = self.record(request, lambda request: self._submission(request, *parse(request), same))
        merges = 0
        for survivor, other, scope in dict.fromkeys(same):
            if merges == MAX_MERGES:
                raise TryAgain
            merges += merge_same_person(self.workspace.id, survivor, other, scope=scope, by=actor_of(request))
        return answer

    def _submission(
        self,
        request: Request,
        events: Sequence[IncomingEvent],
        items: ParsedItems | None,
        same: list[SamePerson],
    ) -> Submission:
        if not self.may(_MERGES.scopes):
            events = [event.merging_visitors() for event in events]
        answer = partial(_answer, self.workspace.id, events, items, same)
        return self.submission_of(request, events, SchemaPolicy.OPEN, answer, items=items)


def _parse_call(kind: str, request: Request) -> _Parsed:
    body = object_body(request)
    check_call_size(_size(request))
    event = parse_call(body, kind, sent_at=None, received_at=clock.now())
    return ([] if event is None else [event]), None


def _parse_batch(request: Request) -> _Parsed:
    body, size = object_body(request), _size(request)
    check_batch_size(size)
    items = parse_batch(body, received_at=clock.now(), size_bytes=size)
    return [result for result in items.results if isinstance(result, IncomingEvent)], items


def _size(request: Request) -> int:
    """Return the bytes of a body that has been read, inflated."""
    return int(request.META.get("CONTENT_LENGTH") or 0)


def _answer(
    workspace_id: UUID,
    events: Sequence[IncomingEvent],
    items: ParsedItems | None,
    same: list[SamePerson],
    outcomes: Sequence[Outcome],
    contacts: Mapping[UUID, Any],
) -> Answer:
    """Return the answer to recorded calls, and note in `same` who is one person.

    `items`: of a batch; None for a single call, which raises its refusal.
    """
    # A group that fails is tried again, and told of anew.
    same.clear()
    if items is None:
        for outcome in outcomes:
            outcome.recorded()
    else:
        by_parser = [items.format.cause(each.error)[0] for each in items.unparsed]
        by_core = [outcome.error.code for outcome in outcomes if outcome.error is not None]
        log_refused(workspace_id, [*by_parser, *by_core])
    same += same_persons(zip(events, outcomes, strict=True))
    return json_answer(200, _DONE)


class MetricsView(ErrorTableMixin):
    """What the browser's client measures of itself: taken, and dropped."""

    authentication_classes = ()
    error_table = SEGMENT_ERRORS
    schema = None

    def post(self, request: Request) -> Response:
        """Answer that all is well; the body is not read."""
        return Response(_DONE, headers={"Access-Control-Allow-Origin": "*"})


class UnknownSegmentRouteView(UnknownRouteView):
    """Answers what this API does not have, in its own format."""

    error_table = SEGMENT_ERRORS
