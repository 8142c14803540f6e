"""Scores for staff: the rules, the ledger, and why a contact has the score that it has."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter
from unfold.widgets import UnfoldBooleanSwitchWidget

from contacts.admin import ContactRowMixin
from contacts.models import Contact
from events.admin import event_link
from events.errors import InvalidCondition
from events.models import Event
from events.stream.outbox import LANE_COUNT
from scoring.errors import InvalidScoringRule
from scoring.explanation import ScoreLine, explain_score
from scoring.models import RuleScore, ScoreEntry, ScoringRule
from scoring.rules import delete_rule, rescore_rule, rule_warnings, save_rule, validate_rule
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.links import link, list_link
from workspaces.staff.model_admin import ReadOnlyAdminMixin, WorkspaceModelAdmin
from workspaces.staff.sections import shows

SECTION_ROWS = 50
_DELETED_RULE = "(deleted rule)"
_WHAT = {"award": "", "superseded": "past the limit", "clamp": "cap or floor", "decay": "decay"}


@shows(ScoreEntry)
def contact_score_section(contact: Contact) -> SafeString:
    """Return the contact's score and its reasons, for its page; a merged contact's are its survivor's."""
    scored = contact.merged_into_id or contact.pk
    found = explain_score(contact.workspace_id, scored, limit=SECTION_ROWS)
    return render_to_string(
        "admin/scoring/contact_score.html",
        {
            "title": f"Score: {found.score.normalize():f}",
            "table": {
                "headers": ["Points", "", "Rule", "Event", "When (UTC)", "Score after it"],
                "rows": reasons(contact.workspace_id, found.lines),
            },
            "footer": _whole_ledger(contact.workspace_id, scored) if found.has_more else "",
        },
    )


def reasons(workspace_id: UUID, lines: Sequence[ScoreLine]) -> list[list[Any]]:
    """Return a row per line. Rules and events may be gone by now."""
    rules = ScoringRule.objects.in_workspace(workspace_id).in_bulk({line.place.rule_id for line in lines})
    events = Event.objects.in_workspace(workspace_id).in_bulk({line.place.event_id for line in lines})
    return [
        [
            f"{line.points.normalize():+f}",
            _WHAT[line.kind],
            _rule_link(rules.get(line.place.rule_id)),
            event_link(events[line.place.event_id]) if line.place.event_id in events else "(deleted event)",
            f"{line.place.at:%Y-%m-%d %H:%M:%S}",
            f"{line.score.normalize():f}",
        ]
        for line in lines
    ]


def _rule_link(rule: ScoringRule | None) -> str:
    return _DELETED_RULE if rule is None else link("scoring_scoringrule_change", rule.pk, rule.name)


def _whole_ledger(workspace_id: UUID, contact_id: UUID) -> SafeString:
    return list_link("scoring_scoreentry", "The whole ledger", workspace=workspace_id, q=contact_id)


class ScoringRuleForm(WorkspaceModelForm):
    """A rule as the API takes it."""

    rescore = forms.BooleanField(
        required=False,
        label="for all history",
        widget=UnfoldBooleanSwitchWidget,
        help_text="Evaluate all events again, in the background. Otherwise events received before this edit keep what"
        " they earned. Limit, decay, cap and floor apply to all history either way.",
    )

    def clean(self) -> dict[str, Any]:
        """Check the rule as the service will."""
        cleaned = super().clean()
        rule = copy.copy(self.instance)
        for name in {field.name for field in ScoringRule._meta.fields} & set(cleaned):
            setattr(rule, name, cleaned[name])
        if rule.workspace_id is None or self.errors:
            return cleaned
        try:
            validate_rule(rule)
        except InvalidCondition as error:
            self.add_error("condition", f"{error.path}: {error.message}" if error.path else error.message)
        except InvalidScoringRule as error:
            self.add_error(error.field, error.message)
        return cleaned


@admin.register(ScoringRule)
class ScoringRuleAdmin(WorkspaceModelAdmin):
    resource = "scoring"
    form = ScoringRuleForm
    list_display = ["name", "event_name", "points", "limit_shown", "active", "rescoring", "updated_at"]
    list_filter = [WorkspaceFilter, ("active", BooleanRadioFilter)]
    search_fields = ["name", "event_name"]
    fieldsets = [
        (None, {"fields": ["workspace", "name", "description", "active"]}),
        ("Earns", {"fields": ["event_name", "condition", "points", "rescore"]}),
        (
            "Adds up",
            {
                "fields": [
                    ("limit_count", "limit_period"),
                    ("decay_points", "decay_days"),
                    ("max_score", "min_score"),
                ]
            },
        ),
        ("Holds", {"fields": ["effective_from", "rescoring", "created_at", "updated_at"]}),
    ]
    readonly_fields = ["effective_from", "rescoring", "created_at", "updated_at"]
    actions = ["rescore"]

    @admin.display(description="limit")
    def limit_shown(self, rule: ScoringRule) -> str:
        return f"{rule.limit_count} per {rule.limit_period}" if rule.limit_count else ""

    @admin.display(description="re-scored")
    def rescoring(self, rule: ScoringRule) -> str:
        if rule.rescored_at is not None:
            return f"{rule.rescored_at:%Y-%m-%d %H:%M:%S}"
        return (
            f"{rule.rescore_lanes_done.bit_count() / LANE_COUNT:.0%} done" if rule.is_rescoring else "never"
        )

    def save_model(self, request: HttpRequest, obj: ScoringRule, form: Any, change: bool) -> None:
        save_rule(obj, rescore=form.cleaned_data["rescore"])
        for warning in rule_warnings(obj):
            messages.warning(request, warning)

    def delete_model(self, request: HttpRequest, obj: ScoringRule) -> None:
        delete_rule(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ScoringRule]) -> None:
        for rule in queryset:
            delete_rule(rule)

    @admin.action(description="Evaluate all events again", permissions=["change"])
    def rescore(self, request: HttpRequest, queryset: QuerySet[ScoringRule]) -> None:
        """Hand the chosen rules to the workers."""
        rules = list(queryset)
        for rule in rules:
            rescore_rule(rule)
        messages.success(request, f"{len(rules)} rule{'' if len(rules) == 1 else 's'} will be re-scored.")


class OfContactMixin(ContactRowMixin):
    """Rows of one contact under one rule; rule names are annotated, because a rule may be deleted."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rules = ScoringRule.objects.filter(pk=OuterRef("rule_id")).values("name")
        rows = super().get_queryset(request)
        named: QuerySet[Any] = rows.annotate(listed_rule=Subquery(rules[:1]))
        return named

    @admin.display(description="e-mail")
    def email(self, row: Any) -> str:
        return row.listed_email or str(row.contact_id)

    @admin.display(description="rule")
    def rule_name(self, row: Any) -> str:
        return row.listed_rule or _DELETED_RULE


@admin.register(ScoreEntry)
class ScoreEntryAdmin(OfContactMixin, ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "contacts"
    list_display = ["__str__", "email", "rule_name", "counts", "occurred_at"]
    sortable_by = ()
    ordering = ["-occurred_at", "-id"]
    search_fields = ["contact_id"]
    search_help_text = "An event's or contact's id, or a contact's identifier or name."
    fields = [
        "workspace",
        "contact_label",
        "rule_name",
        "event",
        "points",
        "is_superseded",
        "occurred_at",
        "created_at",
    ]
    readonly_fields = ["contact_label", "rule_name", "event"]

    def match(self, contact_ids: Sequence[UUID], text: str) -> Q:
        return super().match(contact_ids, text) | Q(event_id__in=contact_ids)

    @admin.display(description="counts", boolean=True)
    def counts(self, entry: ScoreEntry) -> bool:
        return not entry.is_superseded

    @admin.display(description="event")
    def event(self, entry: ScoreEntry) -> str:
        event = Event.objects.in_workspace(entry.workspace_id).filter(pk=entry.event_id).first()
        return event_link(event) if event else str(entry.event_id)


@admin.register(RuleScore)
class RuleScoreAdmin(OfContactMixin, ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "contacts"
    list_display = ["__str__", "email", "rule_name", "value", "last_at"]
    sortable_by = ()
    search_fields = ["contact_id"]
    search_help_text = "A contact's id, identifier or name."
    fields = ["workspace", "contact_label", "rule_name", "included", "value", "last_at", "counted"]
    readonly_fields = ["contact_label", "rule_name"]
