"""The stream: a list that is paged by its index, an event, and recording one by hand."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.widgets import UnfoldAdminEmailInputWidget

from config import clock
from config.db.plans import force_custom_plan
from config.http.rendering import dumps
from config.ids import parse_uuid
from contacts.admin import find_contact_ids, identifier_of
from contacts.models import Identifier
from contacts.references import ContactReference
from events.admin.base import summary
from events.id_bounds import first_id_of_events
from events.models import (
    Event,
    EventDefinition,
    RefusedEvent,
)
from events.replay import causes, replay_batch
from events.stream.quarantine import discard
from events.stream.queries import page_of
from events.stream.recording import record_events
from events.stream.types import IncomingEvent, SchemaPolicy
from workspaces.models import Workspace
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.model_admin import (
    ReadOnlyAdminMixin,
    WorkspaceModelAdmin,
)
from workspaces.staff.pagination import BoundedPaginator
from workspaces.staff.sections import sections_for
from workspaces.staff.workspace_choice import chosen_workspace, workspaces_searched

NAME_CHOICES = 200


class NameFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """One name of events; names come from the definitions, for the stream is too big to be asked."""

    title = "name"
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        names = EventDefinition.objects.in_workspace(chosen_workspace(request)).order_by("name")
        return [(name, name) for name in names.values_list("name", flat=True).distinct()[:NAME_CHOICES]]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        name = (self.value() or "").replace("\x00", "")
        return queryset.filter(name=name) if name else queryset


class AgeFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """How old events are: a range of ids, so other months' partitions are not touched."""

    title = "age"
    parameter_name = "days"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("1", "the last day"), ("7", "the last 7 days"), ("30", "the last 30 days")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() not in {days for days, _ in self.lookup_choices}:
            return queryset
        since = clock.now() - timedelta(days=int(self.value()))
        return queryset.filter(id__gte=first_id_of_events(since), occurred_at__gte=since)


class RecordEventForm(WorkspaceModelForm):
    """An event that a member of staff records."""

    email = forms.EmailField(
        required=False,
        widget=UnfoldAdminEmailInputWidget,
        label="or its e-mail",
        help_text="Instead of a contact: who has this address, created if nobody has.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if occurred_at := self.fields.get("occurred_at"):
            occurred_at.required = False
            occurred_at.initial = None
            self.initial["occurred_at"] = None
            occurred_at.help_text = "Empty: now."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if cleaned.get("contact") and cleaned.get("email"):
            self.add_error("email", "Give a contact or an e-mail, not both.")
        return cleaned

    def incoming(self) -> IncomingEvent:
        """Return what the form says, as every way in says it."""
        data = self.cleaned_data
        return IncomingEvent(
            name=data["name"],
            contact=self._reference(),
            properties=data.get("properties") or {},
            occurred_at=data.get("occurred_at"),
        )

    def _reference(self) -> ContactReference | None:
        if contact := self.cleaned_data.get("contact"):
            return ContactReference(id=str(contact.pk))
        if email := self.cleaned_data.get("email"):
            return ContactReference(identifiers=((Identifier.EMAIL, email),), if_missing="create")
        return None


class EventPaginator(BoundedPaginator):
    """Pages of events in the order of their time, which is not quite that of their ids."""

    def page(self, number: int | str) -> Any:
        """Find the page's keys first, as for all lists."""
        number = self.validate_number(number)
        start = (number - 1) * self.per_page
        rows: Any = self.object_list
        bare = rows.values_list("id", "occurred_at", named=True)
        with force_custom_plan():
            keys = [event.id for event in page_of(bare, self.per_page, start)]
        found = {event.pk: event for event in rows.filter(pk__in=keys).order_by()[: self.per_page]}
        return self._get_page([found[key] for key in keys if key in found], number, self)  # type: ignore[attr-defined]


@admin.register(Event)
class EventAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "events"
    paginator = EventPaginator
    form = RecordEventForm
    list_display = ["name", "occurred", "email", "listed_properties", "source"]
    list_filter = [WorkspaceFilter, NameFilter, AgeFilter]
    sortable_by = ()
    search_fields = ["name"]
    search_help_text = "An event's or contact's id, the whole name, or a contact's identifier or name."
    autocomplete_fields = ["workspace", "contact"]
    fixed_fields = ["properties_as_sent", "context_as_sent", "led_to"]

    def has_add_permission(self, request: HttpRequest, *args: Any) -> bool:
        """Allow adding: the form records the event as every way in does."""
        return self.may(request, "add")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> Any:
        """Take rows that fill no page from the paginator too: it has their order."""

        class EventChangeList(super().get_changelist(request, **kwargs)):  # type: ignore[misc]  # whatever the site has
            def get_results(self, request: HttpRequest) -> None:
                super().get_results(request)
                if not self.multi_page:
                    self.result_list = self.paginator.page(1).object_list

        return EventChangeList

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Sequence[str]:
        if obj is None:
            return ["workspace", "name", "contact", "email", "properties", "occurred_at"]
        facts = ["workspace", "name", "contact", "occurred_at", "received_at", "source", "message_id"]
        return [*facts, "properties_as_sent", "context_as_sent", "company_id", "cause_id", "depth", "led_to"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Event]:
        rows: QuerySet[Event] = super().get_queryset(request).select_related("contact")
        return rows.annotate(listed_email=identifier_of(Identifier.EMAIL))

    def find_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Event | None:
        """Find by the database's primary key, which starts with the workspace."""
        event_id = parse_uuid(object_id)
        if event_id is None:
            return None
        rows = self.get_queryset(request)
        if self.workspaces_for(request, "view") is None:
            everywhere = list(Workspace.objects.order_by().values_list("pk", flat=True))
            rows = rows.filter(workspace_id__in=everywhere)
        found = rows.filter(pk=event_id).first()
        if found is not None:
            found.sections = sections_for(request, settings.EVENT_SECTIONS, found)  # type: ignore[attr-defined]
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        """Find out what the text is, then ask the stream by that one index."""
        text = search_term.replace("\x00", "").strip()
        if not text:
            return queryset, False
        if identifier := parse_uuid(text):
            # Not both by OR: that would be read in the stream's order until a page is full.
            of_contact = queryset.filter(contact_id__in=find_contact_ids(workspaces_searched(request), text))
            return of_contact if of_contact.exists() else queryset.filter(pk=identifier), False
        searched = workspaces_searched(request)
        if names := _names_spelled(searched, text):
            return queryset.filter(name__in=names), False
        return queryset.filter(contact_id__in=find_contact_ids(searched, text)), False

    def save_model(self, request: HttpRequest, obj: Event, form: Any, change: bool) -> None:
        """Record the event; the row that the form made is never saved itself."""
        (outcome,) = record_events(
            obj.workspace_id, [form.incoming()], schema_policy=SchemaPolicy.OPEN, source="admin"
        )
        event = outcome.recorded()
        obj.pk, obj.occurred_at = event.id, event.occurred_at

    @admin.display(description="what became of it")
    def led_to(self, event: Event) -> SafeString:
        """Show what upper apps know of an event: see `settings.EVENT_SECTIONS`."""
        return format_html_join(" ", "{}", ((section,) for section in getattr(event, "sections", ())))

    @admin.display(description="occurred (UTC)")
    def occurred(self, event: Event) -> str:
        return f"{event.occurred_at:%Y-%m-%d %H:%M:%S}"

    @admin.display(description="contact")
    def email(self, event: Any) -> str:
        return event.listed_email or (str(event.contact) if event.contact else "")

    @admin.display(description="properties")
    def listed_properties(self, event: Event) -> str:
        return summary(event)

    @admin.display(description="properties")
    def properties_as_sent(self, event: Event) -> str:
        return dumps(event.properties).decode()

    @admin.display(description="context")
    def context_as_sent(self, event: Event) -> str:
        return dumps(event.context).decode()


def _names_spelled(workspaces: QuerySet[Workspace], text: str) -> list[str]:
    """Return the names of events that are spelled so, whatever their case.

    What the system tells of has no definition; its names are in small letters.
    """
    defined = EventDefinition.objects.filter(workspace__in=workspaces.order_by(), name__iexact=text)
    names = set(defined.values_list("name", flat=True))
    ids = list(workspaces.order_by().values_list("pk", flat=True))
    for name in {text, text.lower()} - names:
        # By the index that begins with workspace and name, in each month.
        if Event.objects.filter(workspace_id__in=ids, name=name).exists():
            names.add(name)
    return sorted(names)


class CauseFilter(DropdownFilter):  # type: ignore[misc]  # unfold has no types
    """Refused events by name and cause, with how many there are."""

    title = "cause"
    parameter_name = "cause"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        found = causes(RefusedEvent.objects.in_workspace(chosen_workspace(request)))
        return [
            (dumps([cause.name, cause.code]).decode(), f"{cause.name}: {cause.error} ({cause.count:,})")
            for cause in found[:NAME_CHOICES]
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[RefusedEvent]) -> QuerySet[RefusedEvent]:
        try:
            name, code = json.loads(self.value() or "")
        except ValueError:
            return queryset
        return queryset.filter(name=str(name), code=str(code))


@admin.register(RefusedEvent)
class RefusedEventAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """Refused events: mend the definition, then replay them."""

    resource = "events"
    list_display = ["received_at", "name", "code", "error", "attempts", "source", "format"]
    list_filter = [WorkspaceFilter, CauseFilter]
    search_fields = ["name__exact", "code__exact"]
    search_help_text = "The whole name, or the whole cause."
    sortable_by = ()
    ordering = ["-id"]
    fields = [
        *(
            "workspace",
            "name",
            "code",
            "error",
            "attempts",
            "source",
            "received_at",
            "schema_policy",
            "format",
        ),
        "as_sent",
    ]
    readonly_fields = ["as_sent"]
    actions = ["replay", "replay_alike", "discard"]

    @admin.display(description="as sent")
    def as_sent(self, row: RefusedEvent) -> str:
        return dumps(row.item if row.format else row.incoming).decode()

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "add")

    @admin.action(description="Replay", permissions=["replay"])
    def replay(self, request: HttpRequest, queryset: QuerySet[RefusedEvent]) -> None:
        """Record the chosen events; those refused again stay."""
        self._replay(request, queryset)

    @admin.action(description="Replay all of the same names and causes", permissions=["replay"])
    def replay_alike(self, request: HttpRequest, queryset: QuerySet[RefusedEvent]) -> None:
        """Record all events that were refused for the same as a chosen one."""
        alike = Q(pk__in=[])
        for name, code in set(queryset.order_by().values_list("name", "code")):
            alike |= Q(name=name, code=code)
        chosen = queryset.order_by().values_list("workspace_id", flat=True).distinct()
        self._replay(request, RefusedEvent.objects.filter(alike, workspace_id__in=list(chosen)))

    @admin.action(description="Discard: they are never recorded", permissions=["replay"])
    def discard(self, request: HttpRequest, queryset: QuerySet[RefusedEvent]) -> None:
        """Delete the chosen events."""
        by_workspace: dict[UUID, list[UUID]] = defaultdict(list)
        for workspace_id, refused_id in queryset.order_by().values_list("workspace_id", "pk"):
            by_workspace[workspace_id].append(refused_id)
        count = sum(discard(workspace_id, chosen) for workspace_id, chosen in by_workspace.items())
        self.message_user(request, f"Discarded: {count:,}.")

    def _replay(self, request: HttpRequest, rows: QuerySet[RefusedEvent]) -> None:
        recorded = refused = 0
        for workspace_id in sorted(set(rows.order_by().values_list("workspace_id", flat=True))):
            chosen = RefusedEvent.objects.in_workspace(workspace_id).filter(
                pk__in=list(rows.order_by().values_list("pk", flat=True))
            )
            after = None
            while (replayed := replay_batch(workspace_id, chosen, after=after)).total:
                recorded += replayed.recorded + replayed.duplicates
                refused += replayed.refused
                after = replayed.last_id
        again = f" {refused:,} were refused again, for the cause that is shown now." if refused else ""
        self.message_user(request, f"Recorded: {recorded:,}.{again}")
