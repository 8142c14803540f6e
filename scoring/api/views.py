"""Endpoints of scoring rules and scores in the native API."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from contacts.errors import ContactNotFound
from contacts.models import Contact
from events.api.parameters import moment_parameter
from events.rules import scopes_required_by_event, scopes_required_by_rule
from scoring.api.filters import ScoringRuleFilterSet
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
from scoring.rules import delete_rule, rescore_rule, save_rule
from workspaces.api.base import object_body
from workspaces.api.native import NativeViewSet
from workspaces.api.pagination import KeysetPagination
from workspaces.api.strict import READ_REFUSALS, text_parameter
from workspaces.scopes import Need

_READS_CONDITION = (
    "contacts:read events:read segments:read",
    "those that read what `condition` asks about",
)
_CREATES = Need("POST", *_READS_CONDITION, action="create")
_CHANGES = Need("PATCH", *_READS_CONDITION)
_PREVIEWS = Need("POST", *_READS_CONDITION, action="preview")


class ScoringRuleViewSet(NativeViewSet):
    """The scoring rules of a workspace."""

    tag = "scoring"
    queryset = ScoringRule.objects.order_by("id")
    serializer_class = ScoringRuleSerializer
    filterset_class = ScoringRuleFilterSet
    lookup_url_kwarg = "rule_id"
    not_found = ScoringRuleNotFound
    scope = "scoring"
    action_scopes = {"preview": "scoring:read contacts:read events:read"}
    needs = (_CREATES, _CHANGES, _PREVIEWS)

    @extend_schema(operation_id="listScoringRules")
    def list(self, request: Request, workspace_id: str) -> Response:
        """List the rules, oldest first."""
        rules = self.filter_queryset(self.get_queryset())
        return Response(ScoringRuleSerializer(rules, many=True).data)

    @extend_schema(
        operation_id="createScoringRule",
        request=ScoringRuleSerializer,
        responses={201: ScoringRuleWrittenSerializer},
    )
    def create(self, request: Request, workspace_id: str) -> Response:
        """Create a rule; it holds for events from now on, or with `rescore` for all history."""
        return self._save(_CREATES, None, status=201)

    @extend_schema(operation_id="getScoringRule")
    def retrieve(self, request: Request, workspace_id: str, rule_id: str) -> Response:
        """Return a rule."""
        return Response(ScoringRuleSerializer(self.get_object()).data)

    @extend_schema(
        operation_id="updateScoringRule",
        request=ScoringRuleSerializer,
        responses={200: ScoringRuleWrittenSerializer},
    )
    def partial_update(self, request: Request, workspace_id: str, rule_id: str) -> Response:
        """Change what the body names, from now on, or with `rescore` for all history."""
        return self._save(_CHANGES, self.get_object(), status=200)

    @extend_schema(operation_id="deleteScoringRule", responses={204: None, **READ_REFUSALS})
    def destroy(self, request: Request, workspace_id: str, rule_id: str) -> Response:
        """Delete a rule; points given already remain, and go on to decay."""
        delete_rule(self.get_object())
        return Response(status=204)

    @extend_schema(operation_id="rescoreScoringRule", request=None, responses={202: ScoringRuleSerializer})
    @action(detail=True, methods=["post"])
    def rescore(self, request: Request, workspace_id: str, rule_id: str) -> Response:
        """Score all history by the rule as it is, in the background; `rescoring` says how far that is."""
        return Response(ScoringRuleSerializer(rescore_rule(self.get_object())).data, status=202)

    @extend_schema(
        operation_id="previewScoringRule",
        request=RulePreviewBodySerializer,
        responses={200: RulePreviewSerializer},
    )
    @action(detail=False, methods=["post"], repeats_harmlessly="shows, and changes nothing")
    def preview(self, request: Request, workspace_id: str) -> Response:
        """Count which of the latest events of its type a rule matches, and show some; nothing is saved."""
        self.need(_PREVIEWS, _scopes_of_condition(object_body(request), None))
        values = self._validated(RulePreviewBodySerializer, None)
        values.pop("rescore", None)
        found = preview_rule(ScoringRule(workspace=self.workspace, **values))
        return Response(RulePreviewSerializer(found, context={"workspace_id": self.workspace.id}).data)

    def _validated(
        self, serializer_class: type[ScoringRuleSerializer], rule: ScoringRule | None
    ) -> dict[str, Any]:
        serializer = serializer_class(
            rule,
            data=object_body(self.request),
            partial=rule is not None,
            context={"workspace": self.workspace},
        )
        serializer.is_valid(raise_exception=True)
        return dict(serializer.validated_data)

    def _save(self, need: Need, rule: ScoringRule | None, status: int) -> Response:
        self.need(need, _scopes_of_condition(object_body(self.request), rule))
        values = self._validated(ScoringRuleSerializer, rule)
        saved = save_rule(rule or ScoringRule(workspace=self.workspace), **values)
        return Response(ScoringRuleWrittenSerializer(saved).data, status=status)


def _scopes_of_condition(body: Mapping[str, Any], rule: ScoringRule | None) -> set[str]:
    """Return the scopes that read what a body's condition asks about, of events of its type or the rule's."""
    condition = body.get("condition")
    if condition is None:
        return set()
    return scopes_required_by_rule(condition) | scopes_required_by_event(
        body.get("eventType", rule and rule.event_name)
    )


class ScoreLinePagination(KeysetPagination):
    """Pages of the lines that add up to a score, by the id of a line."""

    def read_key(self, request: Request) -> str | None:
        """Return the id of the line that the page begins after. Raises ValidationError."""
        return text_parameter(request, self.key_parameter)


_AT = OpenApiParameter(
    "at",
    str,
    description="the moment, past or to come: ISO 8601, UTC unless it names a zone; by default now",
)


_PAGE = [
    OpenApiParameter("limit", int, description="1 to 200, 50 by default"),
    OpenApiParameter("before", str, description=ScoreLinePagination.key_description),
]


class ContactScoreViewSet(NativeViewSet):
    """A contact's score and where it comes from."""

    tag = "scoring"
    queryset = Contact.objects.all()
    lookup_url_kwarg = "contact_id"
    not_found = ContactNotFound
    action_scopes = {"score": "contacts:read scoring:read"}

    @extend_schema(operation_id="getContactScore", parameters=[_AT, *_PAGE], responses={200: ScoreSerializer})
    @action(detail=False, parameters=[_AT], pagination_class=ScoreLinePagination)
    def score(self, request: Request, workspace_id: str, contact_id: str) -> Response:
        """Return the score at a moment and the lines that add up to it, the latest first."""
        answer: dict[str, Any] = {}
        page = self.paginate_queryset(partial(self._read_lines, answer))
        rules = ScoringRule.objects.in_workspace(self.workspace.id).filter(
            id__in={line.place.rule_id for line in page}
        )
        names = dict(rules.values_list("id", "name"))
        paginator: Any = self.paginator
        answer.update(lines=page, next=paginator.next)
        return Response(ScoreSerializer(answer, context={"rule_names": names}).data)

    def _read_lines(self, answer: dict[str, Any], before: str | None, count: int) -> list[ScoreLine]:
        """Return so many lines, and add the score to the answer. Raises ContactNotFound or ValidationError."""
        at = moment_parameter(self.request, "at")
        contact = self.get_object()
        scored = contact.merged_into_id or contact.id
        try:
            found = explain_score(self.workspace.id, scored, at=at, before=before, limit=count)
        except UnknownLine as error:
            raise ValidationError({"before": ["Must be the id of a line of this score."]}) from error
        answer.update(contact_id=scored, at=found.at, score=found.score)
        return found.lines
