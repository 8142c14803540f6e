"""Scores for staff: the rules, the ledger, and why a contact has the score that it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.forms import ValidationError
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter

from contacts.admin import ContactSearchMixin, identifier_of
from contacts.models import Contact, ContactScore, Identifier
from events.admin import event_link
from events.conditions import validate_condition
from events.errors import InvalidCondition
from events.models import Event
from scoring.models import ScoreEntry, ScoringRule
from scoring.services import delete_rule, save_rule
from workspaces.staff import MachineWrittenMixin, TenantAdmin, TenantForm, WorkspaceFilter

SECTION_ROWS = 50
_DELETED_RULE = "(deleted rule)"


def contact_score_section(contact: Contact) -> SafeString:
    """Return the contact's score and its reasons, for its page, in four statements."""
    of_contact = {"workspace_id": contact.workspace_id, "contact_id": contact.pk}
    score = ContactScore.objects.filter(**of_contact).first()
    ledger = ScoreEntry.objects.filter(**of_contact).order_by("-occurred_at", "-id")
    entries = list(ledger[: SECTION_ROWS + 1])
    return render_to_string(
        "admin/scoring/contact_score.html",
        {
            "title": f"Score: {score or 0}",
            "table": {
                "headers": ["Points", "Rule", "Event", "Occurred (UTC)"],
                "rows": reasons(contact.workspace_id, entries[:SECTION_ROWS]),
            },
            "footer": _whole_ledger(contact) if len(entries) > SECTION_ROWS else "",
        },
    )


def reasons(workspace_id: UUID, entries: Sequence[ScoreEntry]) -> list[list[Any]]:
    """Return a line per entry: points, rule, event, moment. Rules and events may be gone by now."""
    rules = ScoringRule.objects.filter(workspace_id=workspace_id).in_bulk(
        {entry.rule_id for entry in entries}
    )
    events = Event.objects.filter(workspace_id=workspace_id).in_bulk({entry.event_id for entry in entries})
    return [
        [
            str(entry),
            _rule_link(rules.get(entry.rule_id)),
            event_link(events[entry.event_id]) if entry.event_id in events else "(deleted event)",
            f"{entry.occurred_at:%Y-%m-%d %H:%M:%S}",
        ]
        for entry in entries
    ]


def _rule_link(rule: ScoringRule | None) -> str:
    if rule is None:
        return _DELETED_RULE
    url = reverse("admin:scoring_scoringrule_change", args=[rule.pk])
    return format_html('<a class="text-primary-600" href="{}">{}</a>', url, rule.name)


def _whole_ledger(contact: Contact) -> SafeString:
    ledger = (
        f"{reverse('admin:scoring_scoreentry_changelist')}?workspace={contact.workspace_id}&q={contact.pk}"
    )
    return format_html('<a class="text-primary-600" href="{}">The whole ledger</a>', ledger)


class ScoringRuleForm(TenantForm):
    """A rule as the API takes it."""

    def clean_condition(self) -> Any:
        """Check the condition by what decides on events."""
        condition = self.cleaned_data.get("condition")
        if condition is None:
            return None
        try:
            validate_condition(condition)
        except InvalidCondition as error:
            raise ValidationError(error.message) from error
        return condition


@admin.register(ScoringRule)
class ScoringRuleAdmin(TenantAdmin):
    form = ScoringRuleForm
    list_display = ["name", "event_name", "points", "active", "updated_at"]
    list_filter = [WorkspaceFilter, ("active", BooleanRadioFilter)]
    search_fields = ["name", "event_name"]
    fields = [
        "workspace",
        "name",
        "description",
        "active",
        "event_name",
        "condition",
        "points",
        "created_at",
        "updated_at",
    ]
    readonly_fields = ["created_at", "updated_at"]

    def save_model(self, request: HttpRequest, obj: ScoringRule, form: Any, change: bool) -> None:
        save_rule(obj)

    def delete_model(self, request: HttpRequest, obj: ScoringRule) -> None:
        delete_rule(obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ScoringRule]) -> None:
        for rule in queryset:
            delete_rule(rule)


@admin.register(ScoreEntry)
class ScoreEntryAdmin(ContactSearchMixin, MachineWrittenMixin, TenantAdmin):
    list_display = ["__str__", "email", "rule_name", "occurred_at"]
    sortable_by = ()
    search_fields = ["contact_id"]
    search_help_text = "An event's or contact's id, or a contact's identifier or name."
    fields = ["workspace", "contact_label", "rule_name", "event", "points", "occurred_at", "created_at"]
    readonly_fields = ["contact_label", "rule_name", "event"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ScoreEntry]:
        """Look up names beside the rows: an inner join would hide lines whose rule is deleted."""
        rules = ScoringRule.objects.filter(pk=OuterRef("rule_id")).values("name")
        rows: QuerySet[ScoreEntry] = super().get_queryset(request)
        return rows.annotate(listed_email=identifier_of(Identifier.EMAIL), listed_rule=Subquery(rules[:1]))

    def match(self, contact_ids: Sequence[UUID], text: str) -> Q:
        return super().match(contact_ids, text) | Q(event_id__in=contact_ids)

    @admin.display(description="e-mail")
    def email(self, entry: Any) -> str:
        return entry.listed_email or str(entry.contact_id)

    @admin.display(description="rule")
    def rule_name(self, entry: Any) -> str:
        return entry.listed_rule or _DELETED_RULE

    @admin.display(description="contact")
    def contact_label(self, entry: Any) -> str:
        url = reverse("admin:contacts_contact_change", args=[entry.contact_id])
        return format_html('<a class="text-primary-600" href="{}">{}</a>', url, self.email(entry))

    @admin.display(description="event")
    def event(self, entry: ScoreEntry) -> str:
        event = Event.objects.filter(workspace_id=entry.workspace_id, pk=entry.event_id).first()
        return event_link(event) if event else str(entry.event_id)
