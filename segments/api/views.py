"""Segments in the native format."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
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
from segments.api import presentation
from segments.api.filters import SegmentFilterSet
from segments.api.serializers import (
    BuildSerializer,
    ExplanationSerializer,
    ImpactSerializer,
    MemberListSerializer,
    MemberPageSerializer,
    MembersChangedSerializer,
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
    get_segment,
    publish_segment,
    rebuild_segment,
    update_segment,
)
from segments.errors import SegmentNotFound
from segments.memberships import explain_membership, members, members_at
from segments.models import Segment
from segments.preview import impact_of, impact_of_draft, preview_rule
from segments.static_members import MemberList, MembersChanged, add_members, read_member_list, remove_members
from workspaces.api.native import NativeAPIView, NativeViewSet
from workspaces.api.strict import (
    READ_REFUSALS,
    WRITE_REFUSALS,
    integer_parameter,
    read_body,
    text_parameter,
)
from workspaces.models import Workspace
from workspaces.scopes import Need

MAX_LIMIT = 1_000
SAMPLES = 10
_SCOPES = {
    "GET": "segments:read",
    "POST": "segments:write",
    "PATCH": "segments:write",
    "DELETE": "segments:write",
}
# Trying a rule out changes nothing, whatever the method; it shows of whom it holds.
_READING = {"GET": "segments:read contacts:read", "POST": "segments:read contacts:read"}
_MEMBERS = {
    "GET": "segments:read contacts:read",
    "POST": "segments:write contacts:read",
    "DELETE": "segments:write contacts:read",
}
_ALL_ASKED = "contacts:read events:read segments:read"
_ASKED, _ASKED_IN_CHANGE, _ASKED_BY_RULE = (
    Need(method, _ALL_ASKED, "that of these of which the rule asks") for method in ("POST", "PATCH", "GET")
)
_MEMBER_PARAMETERS = [
    OpenApiParameter("limit", int, description=f"1 to {MAX_LIMIT}, 100 by default"),
    OpenApiParameter("after", str, description="page by key: `next` of the page before"),
    OpenApiParameter(
        "at", str, description="who was in the segment then: ISO 8601, UTC unless it names a zone"
    ),
]
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

    queryset = Segment.objects.none()
    serializer_class = SegmentSerializer
    filterset_class = SegmentFilterSet
    pagination_class = None
    lookup_url_kwarg = "segment_id"
    scopes = _SCOPES
    needs = (
        Need("GET", "contacts:read", "for `sampleContacts`, else left out", action="retrieve"),
        _ASKED,
        _ASKED_IN_CHANGE,
    )

    def get_queryset(self) -> QuerySet[Segment]:
        """Return the workspace's segments, oldest first."""
        return Segment.objects.in_workspace(self.workspace.id).order_by("id")

    @extend_schema(
        operation_id="listSegments",
        tags=["segments"],
        responses={200: SegmentSerializer(many=True), **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the segments, each with the number of those who are in it."""
        segments = list(self.filter_queryset(self.get_queryset()))
        return Response(presentation.rows(self.workspace.id, segments))

    @extend_schema(
        operation_id="createSegment",
        tags=["segments"],
        request=SegmentBodySerializer,
        responses={201: SegmentWrittenSerializer, **WRITE_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a segment; a rule is held against all contacts in the background before it serves."""
        wanted = read_body(SegmentBodySerializer, request)
        self.need(_ASKED, scopes_required_by_rule(wanted.get("rules")))
        with faults_at_rules():
            segment = create_segment(
                self.workspace,
                name=wanted["name"],
                description=wanted.get("description") or "",
                evaluation=wanted["evaluation"],
                raw=wanted.get("rules"),
                starts_campaigns=wanted.get("startsCampaigns", False),
                publish=wanted["publish"],
            )
        return Response(presentation.written(segment), status=201)

    @extend_schema(
        operation_id="getSegment",
        tags=["segments"],
        responses={200: SegmentDetailSerializer, **READ_REFUSALS},
    )
    def retrieve(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Return a segment, the number of those who are in it, and some of them."""
        segment = segment_of(self.workspace, segment_id)
        (row,) = presentation.rows(self.workspace.id, [segment])
        answer = {"segment": row, "totalMembers": row["_count"]["memberships"]}
        if self.may("contacts:read"):
            found = members(self.workspace.id, segment, limit=SAMPLES)
            ids = [member.contact_id for member in found]
            answer["sampleContacts"] = presentation.samples(self.workspace.id, ids)
        return Response({**answer, "warnings": presentation.warnings_of_segment(segment)})

    @extend_schema(
        operation_id="updateSegment",
        tags=["segments"],
        request=SegmentChangesSerializer,
        responses={200: SegmentWrittenSerializer, **WRITE_REFUSALS},
    )
    def partial_update(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Change what the body names; another rule is built in the background, and the old one serves meanwhile."""
        segment = segment_of(self.workspace, segment_id)
        wanted = read_body(SegmentChangesSerializer, request)
        self.need(_ASKED_IN_CHANGE, scopes_required_by_rule(wanted.get("rules")))
        description = (wanted["description"] or "") if "description" in wanted else None
        with faults_at_rules():
            segment = update_segment(
                self.workspace,
                segment,
                name=wanted.get("name"),
                description=description,
                raw=wanted.get("rules"),
                starts_campaigns=wanted.get("startsCampaigns"),
                publish=wanted["publish"],
            )
        return Response(presentation.written(segment))

    @extend_schema(
        operation_id="deleteSegment",
        tags=["segments"],
        responses={204: None, **WRITE_REFUSALS},
    )
    def destroy(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Delete a segment, unless other rules build on it."""
        delete_segment(self.workspace, segment_of(self.workspace, segment_id))
        return Response(status=204)


class PreviewView(NativeAPIView):
    """Rules tried out."""

    scopes = _READING
    needs = (_ASKED,)
    repeats_harmlessly = "shows, and changes nothing"

    @extend_schema(
        operation_id="previewSegment",
        tags=["segments"],
        request=RuleBodySerializer,
        responses={200: PreviewSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str) -> Response:
        """Tell how many contacts a rule holds for, and some of them; nothing is saved."""
        rule = read_body(RuleBodySerializer, request)["rules"]
        self.need(_ASKED, scopes_required_by_rule(rule))
        with faults_at_rules():
            found = preview_rule(self.workspace.id, rule, samples=SAMPLES)
        return Response(presentation.preview(self.workspace.id, found))


class ImpactView(NativeAPIView):
    """What a rule would change."""

    scopes = _READING
    needs = (_ASKED_BY_RULE, _ASKED)
    repeats_harmlessly = "shows, and changes nothing"

    @extend_schema(
        operation_id="getSegmentImpact",
        tags=["segments"],
        responses={200: ImpactSerializer, **WRITE_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Tell whom the built draft would let in, put out and keep: exactly."""
        segment = segment_of(self.workspace, segment_id)
        self.need(_ASKED_BY_RULE, scopes_required_by_rule([segment.draft_rule, segment.rule]))
        found = impact_of_draft(self.workspace.id, segment)
        return Response(presentation.impact(self.workspace.id, found))

    @extend_schema(
        operation_id="tryOutSegmentImpact",
        tags=["segments"],
        request=RuleBodySerializer,
        responses={200: ImpactSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Tell whom a rule that is not saved would let in, put out and keep."""
        segment = segment_of(self.workspace, segment_id)
        rule = read_body(RuleBodySerializer, request)["rules"]
        self.need(_ASKED, scopes_required_by_rule(rule))
        with faults_at_rules():
            found = impact_of(self.workspace.id, rule, segment)
        return Response(presentation.impact(self.workspace.id, found))


class PublishView(NativeAPIView):
    """Drafts that come to serve."""

    scopes = _SCOPES

    @extend_schema(
        operation_id="publishSegment",
        tags=["segments"],
        request=None,
        responses={200: SegmentWrittenSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Let the built draft serve from now on."""
        segment = publish_segment(self.workspace, segment_of(self.workspace, segment_id))
        return Response(presentation.written(segment))


class DraftView(NativeAPIView):
    """Drafts that are given up."""

    scopes = _SCOPES

    @extend_schema(
        operation_id="discardSegmentDraft", tags=["segments"], responses={204: None, **WRITE_REFUSALS}
    )
    def delete(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Drop the draft, built or not; what serves goes on."""
        discard_draft(self.workspace, segment_of(self.workspace, segment_id))
        return Response(status=204)


class RebuildView(NativeAPIView):
    """Builds, and how far they are."""

    scopes = _SCOPES

    @extend_schema(
        operation_id="getSegmentBuild", tags=["segments"], responses={200: BuildSerializer, **READ_REFUSALS}
    )
    def get(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Tell how far the segment's build is."""
        return Response(presentation.build(segment_of(self.workspace, segment_id)))

    @extend_schema(
        operation_id="rebuildSegment",
        tags=["segments"],
        request=None,
        responses={202: BuildSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Hold the rule against every contact anew, in the background; a parked segment serves again after it."""
        segment = rebuild_segment(self.workspace, segment_of(self.workspace, segment_id))
        return Response(presentation.build(segment), status=202)


class MembersView(NativeAPIView):
    """Who is in a segment."""

    parameters = _MEMBER_PARAMETERS
    scopes = _MEMBERS
    parser_classes = (StrictJSONParser, CSVParser)

    @extend_schema(
        operation_id="listSegmentMembers",
        tags=["segments"],
        parameters=_MEMBER_PARAMETERS,
        responses={200: MemberPageSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """List who is in the segment, or was at a moment, by the contact's id."""
        segment = segment_of(self.workspace, segment_id)
        limit = integer_parameter(request, "limit", 100, highest=MAX_LIMIT)
        after, at = _key(request), moment_parameter(request, "at")
        page: dict[str, Any] = {"after": after, "limit": limit + 1}
        found = (
            members(self.workspace.id, segment, **page)
            if at is None
            else members_at(self.workspace.id, segment, at, **page)
        )
        following = str(found[limit - 1].contact_id) if len(found) > limit else None
        return Response(
            {"data": presentation.member_rows(self.workspace.id, found[:limit]), "next": following}
        )

    @extend_schema(
        operation_id="addSegmentMembers",
        tags=["segments"],
        request=_LIST_OR_UPLOAD,
        responses={200: MembersChangedSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Put contacts into a static segment: a list, or an upload."""
        segment, wanted = segment_of(self.workspace, segment_id), _member_list(request)
        changed = add_members(
            self.workspace, segment, contact_ids=wanted.contact_ids, identifiers=wanted.identifiers
        )
        return Response(_changed(changed, request))

    @extend_schema(
        operation_id="removeSegmentMembers",
        tags=["segments"],
        request=_LIST_OR_UPLOAD,
        responses={200: MembersChangedSerializer, **WRITE_REFUSALS},
        description="Take contacts out of a static segment: a list or an upload in the body, as for POST.",
    )
    def delete(self, request: Request, workspace_id: str, segment_id: str) -> Response:
        """Take contacts out of a static segment."""
        segment, wanted = segment_of(self.workspace, segment_id), _member_list(request)
        changed = remove_members(
            self.workspace, segment, contact_ids=wanted.contact_ids, identifiers=wanted.identifiers
        )
        return Response(_changed(changed, request))


class ExplanationView(NativeAPIView):
    """Why a contact is in a segment, or not."""

    scopes: ClassVar[dict[str, str]] = {"GET": "segments:read contacts:read"}
    needs = (_ASKED_BY_RULE,)

    @extend_schema(
        operation_id="explainSegmentMembership",
        tags=["segments"],
        responses={200: ExplanationSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str, segment_id: str, contact_id: str) -> Response:
        """Return the rule's tree with what each condition saw of the contact, and when the answer may change."""
        segment = segment_of(self.workspace, segment_id)
        self.need(_ASKED_BY_RULE, scopes_required_by_rule(segment.rule))
        identifier = parse_uuid(contact_id)
        if identifier is None:
            raise ContactNotFound
        found = explain_membership(self.workspace.id, segment, identifier)
        return Response(presentation.explanation(self.workspace.id, found))


def segment_of(workspace: Workspace, text: str) -> Segment:
    """Return the segment that an id of the address means. Raises SegmentNotFound."""
    identifier = parse_uuid(text)
    if identifier is None:
        raise SegmentNotFound
    return get_segment(workspace.id, identifier)


@contextmanager
def faults_at_rules() -> Iterator[None]:
    """Tell where in the body's `rules` a fault is. Raises ValidationError."""
    try:
        yield
    except InvalidCondition as error:
        path = f"rules.{error.path}" if error.path else "rules"
        raise ValidationError({path: [error.message]}) from error


def _key(request: Request) -> UUID | None:
    text = text_parameter(request, "after")
    key = parse_uuid(text)
    if text is not None and key is None:
        raise ValidationError({"after": ["Must be the `next` of a page."]})
    return key


def _member_list(request: Request) -> MemberList:
    """Return the contacts that a body names. Raises ValidationError or InvalidMemberList."""
    upload: object = request.data
    if isinstance(upload, str):
        return read_member_list(upload)
    wanted = read_body(MemberListSerializer, request)
    ids = (parse_uuid(text) for text in wanted.get("contactIds", ()))
    return MemberList(
        [identifier for identifier in ids if identifier is not None],
        [(_KINDS.get(one["type"], one["type"]), one["value"]) for one in wanted.get("identifiers", ())],
    )


def _changed(changed: MembersChanged, request: Request) -> dict[str, Any]:
    """Return what became of a list; what is no id at all is as unknown as one that nobody has."""
    named = request.data.get("contactIds", ()) if isinstance(request.data, dict) else ()
    malformed = [text for text in named if parse_uuid(text) is None]
    return {
        "changed": changed.changed,
        "unchanged": changed.unchanged,
        "unknown": [*malformed, *changed.unknown],
    }
