"""The state of processing: batches, parked effects, timers, leases, keys that were seen."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.text import Truncator

from config import clock
from contacts.admin import ContactSearchMixin
from events.admin.base import SUMMARY_LENGTH, contact_link
from events.models import (
    EventBatch,
    Heartbeat,
    IdempotencyKey,
    Lease,
    MessageKey,
    ParkedEffect,
    RulesVersion,
    Timer,
)
from events.processing.lag import processing_lag
from events.processing.parked_effects import retry_parked
from workspaces.staff.model_admin import (
    ReadOnlyAdminMixin,
    RoleModelAdmin,
    WorkspaceModelAdmin,
)
from workspaces.staff.workspace_choice import chosen_workspace


@admin.register(EventBatch)
class EventBatchAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "events"
    list_display = ["id", "lane", "event_count", "level", "created_at"]
    sortable_by = ()

    @admin.display(description="events")
    def event_count(self, batch: EventBatch) -> int:
        return len(batch.event_ids)


@admin.register(ParkedEffect)
class ParkedEffectAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "events"
    list_display = ["effect", "subject", "event_count", "shortened_error", "created_at"]
    search_fields = ["subject__startswith", "effect__startswith"]
    search_help_text = "The beginning of the culprit, such as rule:<id>, or of the effect."
    actions = ["retry"]

    @admin.display(description="events")
    def event_count(self, parked: ParkedEffect) -> int:
        return len(parked.event_ids)

    @admin.display(description="error")
    def shortened_error(self, parked: ParkedEffect) -> str:
        return Truncator(parked.error).chars(SUMMARY_LENGTH)

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "change")

    @admin.action(description="Apply the effects again", permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[ParkedEffect]) -> None:
        """Hand the chosen effects to the worker again."""
        # The list's joins are not to be locked along with the rows.
        count = retry_parked(ParkedEffect.objects.filter(pk__in=queryset.order_by().values("pk")))
        messages.success(request, f"{count} parked effect{'' if count == 1 else 's'} will be applied again.")


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "keys"
    list_display = ["key", "status", "created_at"]
    sortable_by = ()
    search_fields = ["key__exact"]
    search_help_text = "The whole key."
    fields = ["workspace", "key", "status", "answer", "created_at"]
    readonly_fields = ["answer"]

    @admin.display
    def answer(self, row: IdempotencyKey) -> str:
        return bytes(row.body).decode("utf-8", "replace")


@admin.register(MessageKey)
class MessageKeyAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "events"
    list_display = ["key", "event_id"]
    sortable_by = ()
    search_fields = ["key__exact"]
    search_help_text = "The whole key."


@admin.register(Timer)
class TimerAdmin(ContactSearchMixin, ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "events"
    list_display = ["due_at", "contact_link", "timer_key", "lane"]
    fields = ["workspace", "due_at", "contact_link", "timer_key", "lane"]
    readonly_fields = ["contact_link"]
    sortable_by = ()
    ordering = ["workspace_id", "due_at"]
    search_fields = ["contact_id"]
    search_help_text = "A contact's id, identifier or name."

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Show the list, and how far the workers are behind it."""
        now = clock.now()
        lag = processing_lag(chosen_workspace(request), now)
        title = f"Timers: {lag.overdue:,} overdue, everything done but the last {lag.seconds:.1f} s"
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    @admin.display(description="contact")
    def contact_link(self, due: Timer) -> SafeString:
        return contact_link(due.contact_id)


@admin.register(RulesVersion)
class RulesVersionAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "events"
    list_display = ["workspace", "version"]
    ordering = ["workspace_id"]


@admin.register(Lease)
class LeaseAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    resource = "events"
    list_display = ["task", "holder", "expires_at"]
    ordering = ["workspace_id", "task"]


@admin.register(Heartbeat)
class HeartbeatAdmin(ReadOnlyAdminMixin, RoleModelAdmin):
    resource = None
    list_display = ["id", "beaten_at"]
