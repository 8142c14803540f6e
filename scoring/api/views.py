"""Scoring rules and scores in the native format."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from config.http.rendering import iso_millis
from config.ids import NO_ID, parse_uuid
from contacts.api.presentation import briefs
from contacts.errors import ContactNotFound
from contacts.models import Contact
from events.api.parameters import moment_parameter
from events.rules import scopes_required_by_event, scopes_required_by_rule
from scoring.api.serializers import (
    RulePreviewBodySerializer,
    RulePreviewSerializer,
    ScoreSerializer,
    ScoringRuleSerializer,
    ScoringRuleWrittenSerializer,
)
from scoring.errors import ScoringRuleNotFound
from scoring.explanation import ScoreLine, UnknownLine, explain_score
from scoring.models import ScoringRule
from scoring.preview import preview_rule
from scoring.rules import delete_rule, rescore_rule, rule_warnings, save_rule
from workspaces.api.base import object_body
from workspaces.api.filters import StrictBooleanFilter
from workspaces.api.native import NativeAPIView, NativeViewSet
from workspaces.api.strict import (
    READ_REFUSALS,
    WRITE_REFUSALS,
    integer_parameter,
    json_number,
    text_parameter,
)
from workspaces.scopes import Need

_MAX_LIMIT = 200
_SCORE_PARAMETERS = [
    OpenApiParameter(
        "at",
        str,
        description="the moment, past or to come: ISO 8601, UTC unless it names a zone; by default now",
    ),
    OpenApiParameter("limit", int, description=f"1 to {_MAX_LIMIT}, 50 by default"),
    OpenApiParameter("before", str, description="page by key: `next` of the page before"),
]


_ALL_ASKED = "contacts:read events:read segments:read"
_WHEN = "that of these of which `condition` asks"
_ASKED_TRYING = Need("POST", _ALL_ASKED, _WHEN)
_ASKED = Need("POST", _ALL_ASKED, _WHEN, action="create")
_ASKED_IN_CHANGE = Need("PATCH", _ALL_ASKED, _WHEN)


class ScoringRuleFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """The rules of an event type; only the active ones, or only the others."""

    eventType = django_filters.CharFilter(field_name="event_name", max_length=255)
    active = StrictBooleanFilter()

    class Meta:
        model = ScoringRule
        fields: list[str] = []


class ScoringRuleViewSet(NativeViewSet):
    """The scoring rules of a workspace."""

    queryset = ScoringRule.objects.none()
    serializer_class = ScoringRuleSerializer
    filterset_class = ScoringRuleFilterSet
    pagination_class = None
    lookup_url_kwarg = "rule_id"
    scopes = {
        "GET": "scoring:read",
        "POST": "scoring:write",
        "PATCH": "scoring:write",
        "DELETE": "scoring:write",
    }
    needs = (_ASKED, _ASKED_IN_CHANGE)

    def get_queryset(self) -> QuerySet[ScoringRule]:
        """Return the workspace's rules, oldest first."""
        return ScoringRule.objects.filter(workspace_id=self.workspace.id).order_by("id")

    @extend_schema(
        operation_id="listScoringRules",
        tags=["scoring"],
        responses={200: ScoringRuleSerializer(many=True), **READ_REFUSALS},
    )
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the rules."""
        rules = self.filter_queryset(self.get_queryset())
        return Response(ScoringRuleSerializer(rules, many=True).data)

    @extend_schema(
        operation_id="createScoringRule",
        tags=["scoring"],
        request=ScoringRuleSerializer,
        responses={201: ScoringRuleWrittenSerializer, **WRITE_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a rule; it holds for events from now on, or with `rescore` for all history."""
        return Response(self._save(request, None), status=201)

    @extend_schema(
        operation_id="getScoringRule",
        tags=["scoring"],
        responses={200: ScoringRuleSerializer, **READ_REFUSALS},
    )
    def retrieve(self, request: Request, workspace_id: str, rule_id: str) -> Response:
        """Return a rule."""
        return Response(ScoringRuleSerializer(self._rule(rule_id)).data)

    @extend_schema(
        operation_id="updateScoringRule",
        tags=["scoring"],
        request=ScoringRuleSerializer,
        responses={200: ScoringRuleWrittenSerializer, **WRITE_REFUSALS},
    )
    def partial_update(self, request: Request, workspace_id: str, rule_id: str) -> Response:
        """Change what the body names, from now on, or with `rescore` for all history."""
        return Response(self._save(request, self._rule(rule_id)))

    @extend_schema(operation_id="deleteScoringRule", tags=["scoring"], responses={204: None, **READ_REFUSALS})
    def destroy(self, request: Request, workspace_id: str, rule_id: str) -> Response:
        """Delete a rule; points given already stay, and go on to decay."""
        delete_rule(self._rule(rule_id))
        return Response(status=204)

    @extend_schema(
        operation_id="rescoreScoringRule",
        tags=["scoring"],
        request=None,
        responses={202: ScoringRuleSerializer, **WRITE_REFUSALS},
    )
    def rescore(self, request: Request, workspace_id: str, rule_id: str) -> Response:
        """Have all history judged by the rule as it is, in the background; `rescoring` tells how far that is."""
        return Response(ScoringRuleSerializer(rescore_rule(self._rule(rule_id))).data, status=202)

    def _rule(self, text: str) -> ScoringRule:
        rule = self.get_queryset().filter(id=parse_uuid(text) or NO_ID).first()
        if rule is None:
            raise ScoringRuleNotFound
        return rule

    def _save(self, request: Request, rule: ScoringRule | None) -> dict[str, Any]:
        need = _ASKED if rule is None else _ASKED_IN_CHANGE
        self.need(need, _asked_by(object_body(request), rule))
        serializer = ScoringRuleSerializer(
            rule,
            data=object_body(request),
            partial=rule is not None,
            context={"workspace": self.workspace},
        )
        serializer.is_valid(raise_exception=True)
        saved = save_rule(rule or ScoringRule(workspace=self.workspace), **serializer.validated_data)
        return {**ScoringRuleSerializer(saved).data, "warnings": rule_warnings(saved)}


def _asked_by(body: Mapping[str, Any], rule: ScoringRule | None) -> set[str]:
    """Return the scopes that read what a body's condition asks about, of events of its type or the rule's."""
    condition = body.get("condition")
    if condition is None:
        return set()
    return scopes_required_by_rule(condition) | scopes_required_by_event(
        body.get("eventType", rule and rule.event_name)
    )


class RulePreviewView(NativeAPIView):
    """Rules that are tried out before they are saved."""

    scopes = {"POST": "scoring:read contacts:read events:read"}
    needs = (_ASKED_TRYING,)
    repeats_harmlessly = "shows, and changes nothing"

    @extend_schema(
        operation_id="previewScoringRule",
        tags=["scoring"],
        request=RulePreviewBodySerializer,
        responses={200: RulePreviewSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request, workspace_id: str) -> Response:
        """Tell how many of the latest events of its type a rule matches, and whose; nothing is saved."""
        self.need(_ASKED_TRYING, _asked_by(object_body(request), None))
        serializer = RulePreviewBodySerializer(
            data=object_body(request), context={"workspace": self.workspace}
        )
        serializer.is_valid(raise_exception=True)
        values = {name: value for name, value in serializer.validated_data.items() if name != "rescore"}
        found = preview_rule(ScoringRule(workspace=self.workspace, **values))
        contacts = briefs(self.workspace.id, {contact_id for _, contact_id, _ in found.samples})
        return Response(
            {
                "since": iso_millis(found.since),
                "events": found.events,
                "matches": found.matches,
                "contacts": found.contacts,
                "samples": [
                    {
                        "eventId": str(event_id),
                        "contact": contacts[contact_id],
                        "timestamp": iso_millis(moment),
                    }
                    for event_id, contact_id, moment in found.samples
                    if contact_id in contacts
                ],
                "warnings": found.warnings,
            }
        )


class ContactScoreView(NativeAPIView):
    """A contact's score and where it comes from."""

    parameters = _SCORE_PARAMETERS
    scopes = {"GET": "contacts:read scoring:read"}

    @extend_schema(
        operation_id="getContactScore",
        tags=["scoring"],
        parameters=_SCORE_PARAMETERS,
        responses={200: ScoreSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Return the score at a moment and the lines that add up to it, the latest first."""
        limit = integer_parameter(request, "limit", 50, highest=_MAX_LIMIT)
        at, before = moment_parameter(request, "at"), text_parameter(request, "before")
        contact = Contact.objects.filter(
            workspace_id=self.workspace.id, id=parse_uuid(contact_id) or NO_ID
        ).first()
        if contact is None:
            raise ContactNotFound
        scored = contact.merged_into_id or contact.id
        try:
            found = explain_score(self.workspace.id, scored, at=at, before=before, limit=limit)
        except UnknownLine as error:
            raise ValidationError({"before": ["Must be the id of a line of this score."]}) from error
        return Response(
            {
                "contactId": str(scored),
                "at": iso_millis(found.at),
                "score": json_number(found.score),
                "entries": _lines(self.workspace.id, found.lines),
                "next": found.lines[-1].id if found.has_more else None,
            }
        )


def _lines(workspace_id: UUID, lines: Sequence[ScoreLine]) -> list[dict[str, Any]]:
    rules = ScoringRule.objects.filter(
        workspace_id=workspace_id, id__in={line.place.rule_id for line in lines}
    )
    names = dict(rules.values_list("id", "name"))
    return [
        {
            "id": line.id,
            "kind": line.kind,
            "rule": {"id": str(line.place.rule_id), "name": names.get(line.place.rule_id)},
            "eventId": str(line.place.event_id),
            "points": json_number(line.points),
            "nominalPoints": json_number(line.nominal),
            "score": json_number(line.score),
            "timestamp": iso_millis(line.place.at),
            "createdAt": iso_millis(line.created_at),
        }
        for line in lines
    ]
