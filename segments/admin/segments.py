"""Segments: the rule and its draft, the build, publication, and why a contact is a member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.postgres.expressions import ArraySubquery
from django.db import transaction
from django.db.models import Func, IntegerField, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import UnfoldBooleanSwitchWidget

from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from contacts.admin import concerned_contacts
from contacts.errors import ContactNotFound
from contacts.models import Contact
from events.errors import InvalidCondition
from events.rules import find_rule_warnings, parse_rule
from segments.admin.base import state_of
from segments.admin.explanations import node_of
from segments.admin.static_members import FilledMixin
from segments.definitions import (
    check_rule,
    create_segment,
    delete_segment,
    get_segment,
    publish_segment,
    rebuild_segment,
    segment_warnings,
    update_segment,
)
from segments.memberships import explain_membership
from segments.models import Membership, Segment
from workspaces.staff.confirmation import Question, ask
from workspaces.staff.filters import ParkedFilter, WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.links import list_link
from workspaces.staff.model_admin import ServiceDeleteMixin, WorkspaceModelAdmin, page
from workspaces.staff.pagination import COUNT_LIMIT
from workspaces.staff.permissions import admin_of

_RULE_HELP = (
    'such as {"type": "event", "eventType": "purchase", "timeWindow": "7d", "operator": "gte", "value": 1},'
    ' or a tree: {"operator": "AND", "conditions": […]}; the API\'s document has all; static: null'
)


# Segments ----------------------------------------------------------------------------------------------------


class SegmentForm(WorkspaceModelForm):
    """A segment as the API takes it; its rule is the one that is to serve."""

    publishes = forms.BooleanField(
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        label="publish at once",
        help_text="Another rule serves as soon as it is built; else an action of the list publishes it.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "rule" in self.fields:
            self.fields["rule"].help_text = _RULE_HELP
        if self.instance.draft_rule is not None:
            self.initial["rule"] = self.instance.draft_rule

    def clean(self) -> dict[str, Any]:
        """Check the rule by what decides, and report at the field what in it is wrong."""
        cleaned = super().clean()
        workspace = cleaned.get("workspace") or getattr(self.instance, "workspace", None)
        evaluation = cleaned.get("evaluation") or self.instance.evaluation
        if workspace is None or "rule" not in cleaned:
            return cleaned
        if fault := self._fault(workspace.id, evaluation, cleaned["rule"]):
            self.add_error("rule", fault)
        return cleaned

    def _fault(self, workspace_id: UUID, evaluation: str, rule: Any) -> str | None:
        if evaluation == Segment.Evaluation.STATIC:
            return None if rule is None else "A static segment has no rule."
        try:
            check_rule(workspace_id, rule, None if self.instance._state.adding else self.instance)
        except InvalidCondition as error:
            return f"{error.path}: {error.message}" if error.path else error.message
        return None


@admin.register(Segment)
class SegmentAdmin(FilledMixin, ServiceDeleteMixin, WorkspaceModelAdmin):
    resource = "segments"
    form = SegmentForm
    change_form_outer_before_template = "admin/segments/segment_links.html"
    list_display = ["name", "evaluation", "state", "member_count", "shortened_error", "updated_at"]
    list_filter = [
        WorkspaceFilter,
        ("evaluation", ChoicesDropdownFilter),
        ("build", ChoicesDropdownFilter),
        ParkedFilter,
    ]
    search_fields = ["name"]
    ordering = ["name", "id"]
    fields = [
        "workspace",
        "name",
        "description",
        "evaluation",
        "rule",
        "publishes",
        "starts_campaigns",
        "state",
        "reads",
        "oddities",
        "error",
        "members",
        "published_at",
        "created_at",
        "updated_at",
    ]
    readonly_fields = [
        *("state", "reads", "oddities", "error", "members"),
        *("published_at", "created_at", "updated_at"),
    ]
    fixed_fields = ["workspace", "evaluation"]
    actions = ["rebuild", "publish"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Segment]:
        """Count the members for the page's rows, no further than anybody would count."""
        rows: QuerySet[Segment] = super().get_queryset(request)
        members = Membership.objects.in_workspace(OuterRef("workspace_id")).filter(
            version=OuterRef("version")
        )
        member_ids = ArraySubquery(members.order_by().values("pk")[: COUNT_LIMIT + 1])
        return rows.annotate(
            members_counted=Func(member_ids, function="cardinality", output_field=IntegerField())
        )

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        """Leave out of a new segment's form what it cannot have yet, and a rule of a static one's."""
        shown = list(self.fields)
        if obj is None:
            return shown[: shown.index("state")]
        if obj.is_static:
            return [name for name in shown if name not in ("rule", "publishes", "reads", "oddities")]
        return shown

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Lead from a static segment to where it is filled."""
        segment = context.get("original")
        context["may_fill"] = (
            segment is not None and segment.is_static and self.has_fill_permission(request, segment)
        )
        return super().render_change_form(request, context, *args, **kwargs)  # type: ignore[no-any-return]  # untyped

    @admin.display(description="state")
    def state(self, segment: Segment) -> str:
        return state_of(segment)

    @admin.display(description="members")
    def member_count(self, segment: Any) -> str:
        counted: int = segment.members_counted
        return f"over {COUNT_LIMIT:,}" if counted > COUNT_LIMIT else f"{counted:,}"

    @admin.display(description="error")
    def shortened_error(self, segment: Segment) -> str:
        return segment.error[:80]

    @admin.display(description="members")
    def members(self, segment: Any) -> SafeString:
        chosen = {"workspace": segment.workspace_id, "segment": segment.pk}
        return format_html(
            "{}: {}, {}",
            self.member_count(segment),
            list_link("segments_membership", "who is in it", **chosen),
            list_link("segments_membershipperiod", "who was", **chosen),
        )

    @admin.display(description="in words")
    def reads(self, segment: Segment) -> SafeString:
        rule = segment.latest_rule
        if rule is None:
            return SafeString()
        try:
            parse_rule(rule)
        except InvalidCondition:
            return SafeString()  # `oddities` says why
        return render_to_string("admin/segments/tree.html", {"node": node_of(rule, segment.workspace_id)})

    @admin.display(description="warnings", empty_value="-")
    def oddities(self, segment: Segment) -> str:
        return " ".join(segment_warnings(segment))

    def save_model(self, request: HttpRequest, obj: Segment, form: Any, change: bool) -> None:
        """Have the service write what the form says; the row that the form made is never saved itself."""
        data = form.cleaned_data
        values: dict[str, Any] = {
            "name": data["name"],
            "description": data["description"],
            "starts_campaigns": data["starts_campaigns"],
            "publish": data.get("publishes", True),
        }
        if not change:
            made = create_segment(obj.workspace_id, evaluation=obj.evaluation, raw=data["rule"], **values)
            obj.pk, obj._state.adding = made.pk, False
            rule = data["rule"]
        else:
            rule = data.get("rule") if "rule" in form.changed_data else None
            update_segment(obj.workspace_id, get_segment(obj.workspace_id, obj.pk), raw=rule, **values)
        for warning in find_rule_warnings(obj.workspace_id, parse_rule(rule)) if rule else ():
            messages.warning(request, warning)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """List, or act on what is chosen: on all or, if a service refuses one, on none."""
        try:
            with transaction.atomic():
                return super().changelist_view(request, extra_context)
        except DomainError as error:
            messages.error(request, error.sentence)
            return HttpResponseRedirect(request.get_full_path())

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """List the segments with how many are in them."""
        _, *rest = super().get_deleted_objects(objs, request)
        counted = self.get_queryset(request).filter(pk__in=[segment.pk for segment in objs])
        return [
            f"{segment}: {self.member_count(segment)} members" for segment in counted.order_by("name")
        ], *rest

    def delete_model(self, request: HttpRequest, obj: Segment) -> None:
        delete_segment(obj.workspace_id, obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Segment]) -> None:
        # The newest first: a rule builds on segments that were there before it, most often.
        for segment in queryset.order_by("-id"):
            delete_segment(segment.workspace_id, segment)

    def has_build_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "change")

    @admin.action(description="Build anew", permissions=["build"])
    def rebuild(self, request: HttpRequest, queryset: QuerySet[Segment]) -> None:
        """Have the chosen segments held against every contact in the background."""
        self._each(request, queryset, rebuild_segment, "is built anew", "are built anew")

    @admin.action(description="Publish what is built", permissions=["build"])
    def publish(self, request: HttpRequest, queryset: QuerySet[Segment]) -> HttpResponse | None:
        """Let the drafts of the chosen segments serve, once that was confirmed."""
        if (page := ask(request, self, partial(_publication_question, queryset))) is not None:
            return page
        self._each(request, queryset, publish_segment, "is published", "are published")
        return None

    def _each(
        self,
        request: HttpRequest,
        queryset: QuerySet[Segment],
        act: Callable[[UUID, Segment], Segment],
        singular: str,
        plural: str,
    ) -> None:
        done = 0
        for segment in queryset:
            try:
                act(segment.workspace_id, segment)
                done += 1
            except DomainError as error:
                messages.error(request, f"{segment}: {error.sentence}")
        if done:
            messages.success(
                request, f"{done} segment{'' if done == 1 else 's'} {singular if done == 1 else plural}."
            )

    @page("<str:segment_id>/contacts/<str:contact_id>/explanation/", "segments_segment_explanation")
    def explanation_view(self, request: HttpRequest, segment_id: str, contact_id: str) -> HttpResponse:
        """Show why a contact is in a segment, or not."""
        segment = self.row_for(request, segment_id, admin_of(Contact).has_view_permission)
        try:
            found = explain_membership(segment.workspace_id, segment, parse_uuid(contact_id) or NO_ID)
        except ContactNotFound as error:
            raise Http404 from error
        contact = Contact.objects.in_workspace(segment.workspace_id).get(pk=found.contact_id)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{contact} in {segment}",
            "opts": self.opts,
            "segment": segment,
            "contact": contact,
            "found": found,
            "node": node_of(found.tree, segment.workspace_id) if found.tree else None,
        }
        return TemplateResponse(request, "admin/segments/explanation.html", context)


def _publication_question(segments: QuerySet[Segment]) -> Question | None:
    """Return what publishing asks; None if nothing is built."""
    built = [segment for segment in segments if segment.draft_version and segment.build == Segment.Build.DONE]
    if not built:
        return None
    concerned = []
    for segment in built:
        members = Membership.objects.in_workspace(segment.workspace_id).filter(
            version=segment.draft_version or NO_ID
        )
        contacts = Contact.objects.in_workspace(segment.workspace_id).filter(
            pk__in=members.values("contact_id")
        )
        concerned.append(concerned_contacts(contacts, note=f"will be in {segment}"))
    starting = [str(segment) for segment in built if segment.starts_campaigns]
    happens = ["Who is in it by the new rule is in it from then on; who is not, leaves."]
    if starting:
        happens.append(f"Entries and exits may start campaigns, of {', '.join(starting)}.")
    return Question("Publish what is built", "Publish", happens, concerned)
