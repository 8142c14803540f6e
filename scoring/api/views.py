"""Scoring rules and scores in the native format."""

from typing import Any
from uuid import UUID

import django_filters
from django.db.models import Q, QuerySet, Sum
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from config.ids import NO_ID, parse_uuid
from config.wire import iso_millis
from contacts.errors import ContactNotFound
from contacts.models import Contact
from scoring.api.serializers import ScoreSerializer, ScoringRuleSerializer
from scoring.errors import ScoringRuleNotFound
from scoring.models import ScoreEntry, ScoringRule
from scoring.services import delete_rule, save_rule
from workspaces.api.base import object_body
from workspaces.api.native import NativeAPIView, NativeViewSet
from workspaces.api.strict import (
    READ_REFUSALS,
    WRITE_REFUSALS,
    integer_parameter,
    json_number,
    text_parameter,
)

_MAX_LIMIT = 200
_PAGE_PARAMETERS = [
    OpenApiParameter("limit", int, description=f"1 to {_MAX_LIMIT}, 50 by default"),
    OpenApiParameter("before", str, description="page by key: the id of the last line before the page"),
]


class ScoringRuleFilterSet(django_filters.FilterSet):  # type: ignore[misc]  # it has no types
    """The rules of an event type; only the active ones, or only the others."""

    eventType = django_filters.CharFilter(field_name="event_name", max_length=255)
    active = django_filters.BooleanFilter()

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
        responses={201: ScoringRuleSerializer, **WRITE_REFUSALS},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a rule; it holds for events from now on."""
        serializer = ScoringRuleSerializer(data=object_body(request))
        serializer.is_valid(raise_exception=True)
        rule = save_rule(ScoringRule(workspace=self.workspace), **serializer.validated_data)
        return Response(ScoringRuleSerializer(rule).data, status=201)

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
        responses={200: ScoringRuleSerializer, **WRITE_REFUSALS},
    )
    def partial_update(self, request: Request, workspace_id: str, rule_id: str) -> Response:
        """Change what the body names; points given already stay."""
        rule = self._rule(rule_id)
        serializer = ScoringRuleSerializer(rule, data=object_body(request), partial=True)
        serializer.is_valid(raise_exception=True)
        return Response(ScoringRuleSerializer(save_rule(rule, **serializer.validated_data)).data)

    @extend_schema(operation_id="deleteScoringRule", tags=["scoring"], responses={204: None, **READ_REFUSALS})
    def destroy(self, request: Request, workspace_id: str, rule_id: str) -> Response:
        """Delete a rule; points given already stay."""
        delete_rule(self._rule(rule_id))
        return Response(status=204)

    def _rule(self, text: str) -> ScoringRule:
        rule = self.get_queryset().filter(id=parse_uuid(text) or NO_ID).first()
        if rule is None:
            raise ScoringRuleNotFound
        return rule


class ContactScoreView(NativeAPIView):
    """A contact's score and where it comes from."""

    scopes = {"GET": "contacts:read"}

    @extend_schema(
        operation_id="getContactScore",
        tags=["scoring"],
        parameters=_PAGE_PARAMETERS,
        responses={200: ScoreSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Return the score and the lines that add up to it, the latest event first."""
        limit = integer_parameter(request, "limit", 50, highest=_MAX_LIMIT)
        contact = Contact.objects.filter(
            workspace_id=self.workspace.id, id=parse_uuid(contact_id) or NO_ID
        ).first()
        if contact is None:
            raise ContactNotFound
        ledger = ScoreEntry.objects.filter(workspace_id=self.workspace.id, contact_id=contact.id)
        entries = list(_before(ledger, request).order_by("-occurred_at", "-id")[: limit + 1])
        has_more, entries = len(entries) > limit, entries[:limit]
        score = ledger.aggregate(total=Sum("points"))["total"]
        return Response(
            {
                "contactId": str(contact.id),
                "score": json_number(score) or 0,
                "entries": _lines(self.workspace.id, entries),
                "next": str(entries[-1].id) if has_more else None,
            }
        )


def _before(ledger: QuerySet[ScoreEntry], request: Request) -> QuerySet[ScoreEntry]:
    text = text_parameter(request, "before")
    if text is None:
        return ledger
    last = ledger.filter(id=parse_uuid(text) or NO_ID).first()
    if last is None:
        raise ValidationError({"before": ["Must be the id of a line of this score."]})
    return ledger.filter(
        Q(occurred_at__lt=last.occurred_at) | Q(occurred_at=last.occurred_at, id__lt=last.id)
    )


def _lines(workspace_id: UUID, entries: list[ScoreEntry]) -> list[dict[str, Any]]:
    rules = ScoringRule.objects.filter(workspace_id=workspace_id, id__in={entry.rule_id for entry in entries})
    names = dict(rules.values_list("id", "name"))
    return [
        {
            "id": str(entry.id),
            "rule": {"id": str(entry.rule_id), "name": names.get(entry.rule_id)},
            "eventId": str(entry.event_id),
            "points": json_number(entry.points),
            "timestamp": iso_millis(entry.occurred_at),
            "createdAt": iso_millis(entry.created_at),
        }
        for entry in entries
    ]
