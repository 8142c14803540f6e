"""Segments for staff: the rules, how their builds do, who is in them, who was, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.postgres.expressions import ArraySubquery
from django.db import transaction
from django.db.models import F, Func, IntegerField, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter, DropdownFilter
from unfold.widgets import UnfoldBooleanSwitchWidget

from config.errors import DomainError
from config.ids import NO_ID, parse_uuid
from contacts.admin import ContactSearchMixin, concerned_contacts, identifier_of
from contacts.errors import ContactNotFound
from contacts.models import Contact, Identifier
from events.errors import InvalidCondition
from events.rules import find_rule_warnings, parse_rule
from segments.build import progress_of
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
from segments.memberships import explain_membership, segments_of
from segments.models import Membership, MembershipPeriod, Segment
from segments.rule_text import as_text, worded
from segments.static_members_page import FilledMixin
from workspaces.staff.columns import utc_column
from workspaces.staff.confirmation import AffectedRows, Question, ask
from workspaces.staff.filters import ParkedFilter, WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.model_admin import ReadOnlyAdminMixin, ServiceDeleteMixin, WorkspaceModelAdmin, page
from workspaces.staff.pagination import COUNT_LIMIT
from workspaces.staff.permissions import admin_of
from workspaces.staff.sections import shows
from workspaces.staff.workspace_choice import chosen_workspace

SECTION_ROWS = 50
SEGMENT_CHOICES = 200
_RULE_HELP = (
    'such as {"type": "event", "eventType": "purchase", "timeWindow": "7d", "operator": "gte", "value": 1},'
    ' or a tree: {"operator": "AND", "conditions": […]}; the API\'s document has all; static: null'
)


@shows(Segment, Membership)
def contact_segments_section(contact: Contact) -> SafeString:
    """Return the segments that a contact is in, and others, each one click from its reasons; in two statements."""
    inside = segments_of(contact.workspace_id, contact.pk)
    dynamic = Segment.objects.in_workspace(contact.workspace_id).dynamic().exclude(published_at=None)
    outside = dynamic.exclude(pk__in=[segment.pk for segment, _ in inside]).order_by("name")[:SECTION_ROWS]
    rows = [
        [_segment_link(segment), f"{since:%Y-%m-%d %H:%M:%S}", _why(segment.pk, contact.pk)]
        for segment, since in inside
    ]
    links = format_html_join(", ", "{}", ((_why(other.pk, contact.pk, other.name),) for other in outside))
    return render_to_string(
        "admin/segments/contact_segments.html",
        {
            "table": {"headers": ["Segment", "Since (UTC)", "Reasons"], "rows": rows},
            # One element: the footer sets what stands in it side by side, without the spaces between.
            "footer": format_html("<span>Why not in: {}</span>", links) if links else "",
        },
    )


def _segment_link(segment: Segment) -> SafeString:
    url = reverse("admin:segments_segment_change", args=[segment.pk])
    return format_html(
        '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, segment.name
    )


def _why(segment_id: UUID, contact_id: UUID, text: str = "Why") -> SafeString:
    url = reverse("admin:segments_segment_explanation", args=[segment_id, contact_id])
    return format_html('<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>', url, text)


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
        chosen = f"?workspace={segment.workspace_id}&segment={segment.pk}"
        return format_html(
            '{}: <a class="text-primary-600 dark:text-primary-500" href="{}">who is in it</a>,'
            ' <a class="text-primary-600 dark:text-primary-500" href="{}">who was</a>',
            self.member_count(segment),
            reverse("admin:segments_membership_changelist") + chosen,
            reverse("admin:segments_membershipperiod_changelist") + chosen,
        )

    @admin.display(description="in words")
    def reads(self, segment: Segment) -> SafeString:
        rule = segment.draft_rule or segment.rule
        if rule is None:
            return SafeString()
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


def concerned_members(workspace_id: UUID, segment_id: UUID) -> AffectedRows:
    """Return how many are in a segment by what serves, and the first of them with their e-mail addresses."""
    segment = Segment.objects.in_workspace(workspace_id).filter(pk=segment_id).first()
    if segment is None:
        return AffectedRows(0, "contact")
    members = Membership.objects.in_workspace(workspace_id).filter(version=segment.version)
    contacts = Contact.objects.in_workspace(workspace_id).filter(pk__in=members.values("contact_id"))
    return concerned_contacts(contacts, note=f"in {segment} now")


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


def state_of(segment: Segment) -> str:
    """Return how a segment does, in words."""
    if segment.is_static:
        return "filled by hand"
    progress = progress_of(segment)
    serving = "serves" if segment.published_at else "never published"
    if segment.parked_at:
        serving = "parked"
    match progress.state:
        case Segment.Build.RUNNING:
            return f"{serving}, {progress.fraction:.0%} built ({progress.judged:,} of {progress.total:,})"
        case Segment.Build.DONE:
            return f"{serving}, a draft waits to be published"
        case Segment.Build.FAILED:
            return f"{serving}, a build failed"
        case _:
            return f"{serving}, telling who entered and left" if progress.is_publishing else serving


# Explanations ------------------------------------------------------------------------------------------------


def node_of(tree: Mapping[str, Any], workspace_id: UUID) -> dict[str, Any]:
    """Return a rule, or the tree that explains it, as the template shows it; segments by their names."""
    ids = {identifier for leaf in _leaves(tree) if (identifier := parse_uuid(leaf.get("segmentId")))}
    named = Segment.objects.in_workspace(workspace_id).filter(pk__in=ids) if ids else ()
    return _node(tree, {str(segment.pk): segment.name for segment in named})


def _leaves(tree: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "conditions" not in tree:
        yield tree
    for child in tree.get("conditions", ()):
        yield from _leaves(child)


def _node(tree: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    is_group, is_explained = "conditions" in tree, "matches" in tree
    return {
        "words": worded(tree, names),
        "is_group": is_group,
        "is_explained": is_explained,
        "holds": tree.get("matches"),
        "saw": as_text(tree.get("actual")) if is_explained and not is_group else "",
        "changes_at": tree.get("changesAt"),
        "events": [_event(event) for event in tree.get("events", ())],
        "children": [_node(child, names) for child in tree.get("conditions", ())],
    }


def _event(event: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "url": reverse("admin:events_event_change", args=[event["id"]]),
        "timestamp": event["timestamp"],
        "value": as_text(event["value"]) if event.get("value") is not None else "",
    }


# Members -----------------------------------------------------------------------------------------------------


class SegmentFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """One segment of the workspace that is shown."""

    shows = (Segment,)
    title = "segment"
    parameter_name = "segment"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        segments = Segment.objects.in_workspace(chosen_workspace(request))
        choices = dict(segments.order_by("name").values_list("pk", "name")[:SEGMENT_CHOICES])
        chosen = parse_uuid(self.value())
        if chosen is not None and chosen not in choices:
            choices.update(segments.filter(pk=chosen).values_list("pk", "name"))
        return [(str(pk), name) for pk, name in choices.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = parse_uuid(self.value())
        return queryset if chosen is None else queryset.filter(**self.of_segment(request, chosen))

    def of_segment(self, request: HttpRequest, segment_id: UUID) -> dict[str, Any]:
        """Return what a row of the segment fulfils, so that an index finds it."""
        return {"segment_id": segment_id}


class MemberFilter(SegmentFilter):
    """Contacts that are in a segment by what serves: see `settings.ADMIN_CONTACT_FILTERS`."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        chosen = parse_uuid(self.value())
        if chosen is None:
            return queryset
        workspace_id = chosen_workspace(request)
        segment = Segment.objects.in_workspace(workspace_id).filter(pk=chosen).first()
        if segment is None:
            return queryset.none()
        members = Membership.objects.in_workspace(workspace_id).filter(version=segment.version)
        return queryset.filter(pk__in=members.values("contact_id"))


class ServingSegmentFilter(SegmentFilter):
    """Who is in a segment by what serves: memberships are indexed by the rule's version."""

    def of_segment(self, request: HttpRequest, segment_id: UUID) -> dict[str, Any]:
        segments = Segment.objects.in_workspace(chosen_workspace(request)).filter(pk=segment_id)
        return {"version": segments.values_list("version", flat=True).first()}


class OfSegmentAdmin(ContactSearchMixin, ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """Rows of a contact in a segment."""

    resource = "segments"
    sortable_by = ()
    search_fields = ["contact_id"]
    search_help_text = "A contact's id, identifier or name."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Look the columns up for the page's rows alone, in the same statement."""
        rows: QuerySet[Any] = super().get_queryset(request).select_related("segment")
        listed: QuerySet[Any] = rows.annotate(listed_email=identifier_of(Identifier.EMAIL))
        return listed

    @admin.display(description="contact")
    def contact_label(self, row: Any) -> SafeString:
        url = reverse("admin:contacts_contact_change", args=[row.contact_id])
        return format_html(
            '<a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>',
            url,
            row.listed_email or row.contact_id,
        )

    @admin.display(description="segment")
    def segment_label(self, row: Any) -> SafeString:
        return _segment_link(row.segment)

    @admin.display(description="reasons")
    def why(self, row: Any) -> SafeString:
        return _why(row.segment_id, row.contact_id)


@admin.register(Membership)
class MembershipAdmin(OfSegmentAdmin):
    list_display = ["since_utc", "contact_label", "segment_label", "why"]
    list_filter = [WorkspaceFilter, ServingSegmentFilter]
    # The order of the index that finds them, so that a page costs no more than its rows.
    ordering = ["version", "contact_id"]
    fields = ["workspace", "segment_label", "contact_label", "since_utc", "why"]
    readonly_fields = ["segment_label", "contact_label", "since_utc", "why"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """Leave out those by rules that do not serve: yet, or any more."""
        rows: Any = super().get_queryset(request)
        serving: QuerySet[Membership] = rows.filter(version=F("segment__version")).with_entry()
        return serving

    since_utc = utc_column("entered_at", "since (UTC)")


@admin.register(MembershipPeriod)
class MembershipPeriodAdmin(OfSegmentAdmin):
    list_display = ["entered_utc", "left_utc", "contact_label", "segment_label", "why"]
    list_filter = [WorkspaceFilter, SegmentFilter]
    ordering = ["-entered_at", "-id"]
    fields = ["workspace", "segment_label", "contact_label", "entered_utc", "left_utc", "why"]
    readonly_fields = ["segment_label", "contact_label", "entered_utc", "left_utc", "why"]

    entered_utc = utc_column("entered_at", "entered (UTC)")

    @admin.display(description="left (UTC)", empty_value="still in it")
    def left_utc(self, row: MembershipPeriod) -> str | None:
        return f"{row.left_at:%Y-%m-%d %H:%M:%S}" if row.left_at else None
