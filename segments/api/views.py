"""Endpoints of segments and their members in the native API."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from config.http.json import CSVParser, StrictJSONParser
from config.ids import parse_uuid
from contacts.errors import ContactNotFound
from contacts.models import Identifier
from events.api.parameters import moment_parameter
from events.errors import InvalidCondition
from events.rules import scopes_required_by_rule
from segments.api.filters import SegmentFilterSet
from segments.api.serializers import (
    BuildSerializer,
    ExplanationSerializer,
    ImpactSerializer,
    MemberListSerializer,
    MembersChangedSerializer,
    MemberSerializer,
    PreviewSerializer,
    RuleBodySerializer,
    SegmentBodySerializer,
    SegmentChangesSerializer,
    SegmentDetailSerializer,
    SegmentSerializer,
    SegmentWrittenSerializer,
)
from segments.definitions import (
    create_segment,
    delete_segment,
    discard_draft,
    publish_segment,
    rebuild_segment,
    segment_warnings,
    update_segment,
)
from segments.errors import SegmentNotFound
from segments.memberships import Member, explain_membership, members, members_at
from segments.models import Segment
from segments.preview import Impact, impact_of, impact_of_draft, preview_rule
from segments.static_members import MemberList, MembersChanged, add_members, read_member_list, remove_members
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination
from workspaces.api.strict import WRITE_REFUSALS, read_body
from workspaces.scopes import Need

SAMPLES = 10
_READS_BOTH = "segments:read contacts:read"
_CHANGES_MEMBERS = "segments:write contacts:read"
_HARMLESS = "shows, and changes nothing"
_READS_RULE = "contacts:read events:read segments:read"


def _rule_need(method: str, action: str) -> Need:
    """Return the need of an action for the scopes that read what a rule asks for."""
    return Need(method, _READS_RULE, "those that read what the rule asks about", action)


_CREATES, _CHANGES = _rule_need("POST", "create"), _rule_need("PATCH", "partial_update")
_PREVIEWS, _EXPLAINS = _rule_need("POST", "preview"), _rule_need("GET", "explanation")
_IMPACT, _TRIES_IMPACT = _rule_need("GET", "impact"), _rule_need("POST", "try_out_impact")
_AT = OpenApiParameter(
    "at", str, description="who was in the segment then: ISO 8601, UTC unless it names a zone"
)
_LIST_OR_UPLOAD: Any = {
    "application/json": MemberListSerializer,
    "text/csv": {
        "type": "string",
        "description": "A header with the columns id, contactId, email, phone or externalId; or a contact a line.",
        "examples": ["email\nada@example.com\n"],
    },
}
_KINDS = {"externalId": Identifier.EXTERNAL_ID}


class SegmentViewSet(NativeViewSet):
    """The segments of a workspace."""

    tag = "segments"
    queryset = Segment.objects.order_by("id")
    serializer_class = SegmentSerializer
    filterset_class = SegmentFilterSet
    lookup_url_kwarg = "segment_id"
    not_found = SegmentNotFound
    scope = "segments"
    # Trying a rule out changes nothing, whatever the method; it shows contacts.
    action_scopes = {"preview": _READS_BOTH, "impact": _READS_BOTH, "try_out_impact": _READS_BOTH}
    needs = (
        Need("GET", "contacts:read", "for `sampleContacts`, else left out", action="retrieve"),
        _CREATES,
        _CHANGES,
        _PREVIEWS,
        _IMPACT,
        _TRIES_IMPACT,
    )

    @extend_schema(operation_id="listSegments")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the segments, each with the number of its members, oldest first."""
        return Response(SegmentSerializer(self.filter_queryset(self.get_queryset()), many=True).data)

    @extend_schema(
        operation_id="createSegment", request=SegmentBodySerializer, responses={201: SegmentWrittenSerializer}
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a segment; its rule is evaluated for all contacts in the background before it serves."""
        wanted = read_body(SegmentBodySerializer, request)
        self.need(_CREATES, scopes_required_by_rule(wanted.get("raw")))
        with rule_errors_as_fields():
            segment = create_segment(self.workspace.id, **wanted)
        return Response(SegmentWrittenSerializer(segment).data, status=201)

    @extend_schema(operation_id="getSegment", responses={200: SegmentDetailSerializer})
    def retrieve(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Return a segment, the number of its members, and some of them."""
        segment = self.get_object()
        answer: dict[str, Any] = {"segment": segment, "warnings": segment_warnings(segment)}
        if self.may("contacts:read"):
            found = members(self.workspace.id, segment, limit=SAMPLES)
            answer["samples"] = [member.contact_id for member in found]
        return Response(SegmentDetailSerializer(answer, context={"workspace_id": self.workspace.id}).data)

    @extend_schema(
        operation_id="updateSegment",
        request=SegmentChangesSerializer,
        responses={200: SegmentWrittenSerializer},
    )
    def partial_update(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Change what the body names; another rule is built in the background, and the old one serves meanwhile."""
        segment = self.get_object()
        wanted = read_body(SegmentChangesSerializer, request)
        self.need(_CHANGES, scopes_required_by_rule(wanted.get("raw")))
        with rule_errors_as_fields():
            segment = update_segment(self.workspace.id, segment, **wanted)
        return Response(SegmentWrittenSerializer(segment).data)

    @extend_schema(operation_id="deleteSegment")
    def destroy(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Delete a segment, unless other rules build on it."""
        delete_segment(self.workspace.id, self.get_object())
        return Response(status=204)

    @extend_schema(
        operation_id="previewSegment", request=RuleBodySerializer, responses={200: PreviewSerializer}
    )
    @action(detail=False, methods=["post"], repeats_harmlessly=_HARMLESS)
    def preview(self, request: Request, workspace_id: str) -> Response:
        """Count the contacts that a rule holds for, and return some of them; nothing is saved."""
        rule = read_body(RuleBodySerializer, request)["rules"]
        self.need(_PREVIEWS, scopes_required_by_rule(rule))
        with rule_errors_as_fields():
            found = preview_rule(self.workspace.id, rule, samples=SAMPLES)
        return Response(PreviewSerializer(found, context={"workspace_id": self.workspace.id}).data)

    @extend_schema(operation_id="getSegmentImpact", responses={200: ImpactSerializer, **WRITE_REFUSALS})
    @action(detail=True, repeats_harmlessly=_HARMLESS)
    def impact(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Return exactly whom the built draft would let in, remove and keep."""
        segment = self.get_object()
        self.need(_IMPACT, scopes_required_by_rule([segment.draft_rule, segment.rule]))
        return self._answer_impact(impact_of_draft(self.workspace.id, segment))

    @extend_schema(
        operation_id="tryOutSegmentImpact", request=RuleBodySerializer, responses={200: ImpactSerializer}
    )
    @impact.mapping.post
    def try_out_impact(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Return whom a rule that is not saved would let in, remove and keep."""
        segment = self.get_object()
        rule = read_body(RuleBodySerializer, request)["rules"]
        self.need(_TRIES_IMPACT, scopes_required_by_rule(rule))
        with rule_errors_as_fields():
            found = impact_of(self.workspace.id, rule, segment)
        return self._answer_impact(found)

    def _answer_impact(self, found: Impact) -> Response:
        return Response(ImpactSerializer(found, context={"workspace_id": self.workspace.id}).data)

    @extend_schema(operation_id="publishSegment", request=None, responses={200: SegmentWrittenSerializer})
    @action(detail=True, methods=["post"])
    def publish(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Let the built draft serve from now on."""
        segment = publish_segment(self.workspace.id, self.get_object())
        return Response(SegmentWrittenSerializer(segment).data)

    @extend_schema(operation_id="discardSegmentDraft", responses={204: None})
    @action(detail=True, methods=["delete"])
    def draft(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Drop the draft, built or not; the rule that serves is kept."""
        discard_draft(self.workspace.id, self.get_object())
        return Response(status=204)

    @extend_schema(operation_id="getSegmentBuild", responses={200: BuildSerializer})
    @action(detail=True, url_path="rebuild")
    def progress(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Return how far the segment's build is."""
        return Response(BuildSerializer(self.get_object()).data)

    @extend_schema(operation_id="rebuildSegment", request=None, responses={202: BuildSerializer})
    @progress.mapping.post
    def rebuild(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Evaluate the rule for every contact anew, in the background; a parked segment serves again after it."""
        segment = rebuild_segment(self.workspace.id, self.get_object())
        return Response(BuildSerializer(segment).data, status=202)


class MemberPagination(KeysetPagination):
    """Pages of a segment's members, by the contact's id."""

    page_size = 100
    max_page_size = 1_000
    key_parameter = "after"
    key_attribute = "contact_id"


class MembershipViewSet(NativeViewSet):
    """The members of a segment, and why a contact is one."""

    tag = "segments"
    queryset = Segment.objects.all()
    lookup_url_kwarg = "segment_id"
    not_found = SegmentNotFound
    action_scopes = {
        "members": _READS_BOTH,
        "add_members": _CHANGES_MEMBERS,
        "remove_members": _CHANGES_MEMBERS,
        "explanation": _READS_BOTH,
    }
    needs = (_EXPLAINS,)

    @extend_schema(
        operation_id="listSegmentMembers", parameters=[_AT], responses={200: MemberSerializer(many=True)}
    )
    @action(
        detail=True,
        parameters=[_AT],
        pagination_class=MemberPagination,
        parser_classes=[StrictJSONParser, CSVParser],
    )
    def members(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """List who is in the segment, or was at a moment, by the contact's id."""
        segment = self.get_object()
        page = self.paginate_queryset(lambda after, count: self._read_members(segment, after, count))
        rows = MemberSerializer(page, many=True, context={"workspace_id": self.workspace.id})
        return self.get_paginated_response(rows.data)

    def _read_members(self, segment: Segment, after: UUID | None, count: int) -> list[Member]:
        at = moment_parameter(self.request, "at")
        if at is None:
            return members(self.workspace.id, segment, after=after, limit=count)
        return members_at(self.workspace.id, segment, at, after=after, limit=count)

    @extend_schema(
        operation_id="addSegmentMembers", request=_LIST_OR_UPLOAD, responses={200: MembersChangedSerializer}
    )
    @members.mapping.post
    def add_members(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Put contacts into a static segment: a list, or an upload."""
        return self._change_members(add_members)

    @extend_schema(
        operation_id="removeSegmentMembers",
        request=_LIST_OR_UPLOAD,
        responses={200: MembersChangedSerializer},
        description="Take contacts out of a static segment: a list or an upload in the body, as for POST.",
    )
    @members.mapping.delete
    def remove_members(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Take contacts out of a static segment."""
        return self._change_members(remove_members)

    def _change_members(self, change: Callable[..., MembersChanged]) -> Response:
        segment = self.get_object()
        wanted, malformed = _member_list(self.request)
        changed = change(
            self.workspace.id, segment, contact_ids=wanted.contact_ids, identifiers=wanted.identifiers
        )
        # What is no id at all is as unknown as an id that nobody has.
        answer = replace(changed, unknown=[*malformed, *changed.unknown])
        return Response(MembersChangedSerializer(answer).data)

    @extend_schema(operation_id="explainSegmentMembership", responses={200: ExplanationSerializer})
    @action(detail=True, url_path="contacts/<str:contact_id>/explanation")
    def explanation(self, request: Request, workspace_id: str, segment_id: str, contact_id: str) -> Response:
        """Return the rule's tree with what each condition saw of the contact, and when the answer may change."""
        segment = self.get_object()
        self.need(_EXPLAINS, scopes_required_by_rule(segment.rule))
        identifier = parse_uuid(contact_id)
        if identifier is None:
            raise ContactNotFound
        found = explain_membership(self.workspace.id, segment, identifier)
        return Response(ExplanationSerializer(found, context={"workspace_id": self.workspace.id}).data)


@contextmanager
def rule_errors_as_fields() -> Iterator[None]:
    """Refuse a rule by the place in the body's `rules` that is wrong. Raises ValidationError."""
    try:
        yield
    except InvalidCondition as error:
        path = f"rules.{error.path}" if error.path else "rules"
        raise ValidationError({path: [error.message]}) from error


def _member_list(request: Request) -> tuple[MemberList, list[str]]:
    """Return the contacts that a body names, and what of it is no id. Raises ValidationError or InvalidMemberList."""
    upload: Any = request.data
    if isinstance(upload, str):
        return read_member_list(upload), []
    wanted = read_body(MemberListSerializer, request)
    ids = [
        contact_id for text in wanted.get("contactIds", ()) if (contact_id := parse_uuid(text)) is not None
    ]
    named = [
        (_KINDS.get(name["type"], name["type"]), name["value"]) for name in wanted.get("identifiers", ())
    ]
    malformed = [text for text in upload.get("contactIds", ()) if parse_uuid(text) is None]
    return MemberList(ids, named), malformed
