"""Suppressions and channel settings in the admin."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import UnfoldAdminPasswordWidget

from campaigns.errors import InvalidAddress, InvalidChannelSettings
from campaigns.messaging.channel_settings import check_channel, delete_channel, save_channel
from campaigns.messaging.suppressions import add_suppression, checked_address, remove_suppression
from campaigns.models import ChannelSettings, Suppression
from config.values.emails import canonical_email
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.model_admin import ServiceDeleteMixin, WorkspaceModelAdmin

_EDITABLE = (
    *("sender", "options", "requires_opt_in", "cap_count", "cap_hours", "quiet_from", "quiet_until"),
    *("time_zone", "on_unknown", "max_attempts"),
)


class ChannelSettingsForm(WorkspaceModelForm):
    """Settings of a channel; its secret is written, never shown."""

    new_secret = forms.CharField(
        required=False,
        max_length=255,
        strip=True,
        widget=UnfoldAdminPasswordWidget,
        help_text="Of Telegram the bot's token; empty leaves what there is.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if self.errors:
            return cleaned
        channel = cleaned.get("channel") or self.instance.channel
        given = {name: cleaned[name] for name in _EDITABLE if name in cleaned}
        given["secret"] = cleaned.get("new_secret", "")
        try:
            check_channel(ChannelSettings(channel=channel, **given))
        except InvalidChannelSettings as error:
            name, _, key = error.field.replace("secret", "new_secret").partition(".")
            self.add_error(name, f"{key}: {error.message}" if key else error.message)
        return cleaned


@admin.register(ChannelSettings)
class ChannelSettingsAdmin(ServiceDeleteMixin, WorkspaceModelAdmin):
    resource = "campaigns"
    form = ChannelSettingsForm
    list_display = ["channel", "sender", "cap", "quiet_hours", "on_unknown"]
    fieldsets = [
        (None, {"fields": ["workspace", "channel", "sender", "new_secret", "options"]}),
        (
            "Permission",
            {
                "fields": [
                    "requires_opt_in",
                    ("cap_count", "cap_hours"),
                    ("quiet_from", "quiet_until"),
                    "time_zone",
                ]
            },
        ),
        ("Delivery", {"fields": ["on_unknown", "max_attempts"]}),
    ]
    fixed_fields = ["workspace", "channel"]
    ordering = ["channel"]

    @admin.display(description="cap")
    def cap(self, settings: ChannelSettings) -> str:
        return "" if settings.cap_count is None else f"{settings.cap_count} in {settings.cap_hours} h"

    @admin.display(description="quiet hours")
    def quiet_hours(self, settings: ChannelSettings) -> str:
        if settings.quiet_from is None or settings.quiet_until is None:
            return ""
        return f"{settings.quiet_from:%H:%M} to {settings.quiet_until:%H:%M}"

    def delete_model(self, request: HttpRequest, obj: ChannelSettings) -> None:
        delete_channel(obj)

    def save_model(self, request: HttpRequest, obj: ChannelSettings, form: Any, change: bool) -> None:
        """Save the settings by their service; an empty secret leaves what there is."""
        values = {name: form.cleaned_data[name] for name in _EDITABLE}
        if secret := form.cleaned_data["new_secret"]:
            values["secret"] = secret
        saved = save_channel(obj.workspace_id, obj.channel, **values)
        obj.pk, obj._state.adding = saved.pk, False


class SuppressionForm(WorkspaceModelForm):
    """A suppression to add; its address is normalised as contacts' identifiers are."""

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        channel, address = cleaned.get("channel"), cleaned.get("address")
        if channel and address:
            try:
                cleaned["address"] = checked_address(channel, address)
            except InvalidAddress as error:
                self.add_error("address", error.message)
        return cleaned


@admin.register(Suppression)
class SuppressionAdmin(WorkspaceModelAdmin):
    resource = "messages"
    form = SuppressionForm
    list_display = ["address", "channel", "reason", "note", "created_at"]
    list_filter = [WorkspaceFilter, ("channel", ChoicesDropdownFilter), ("reason", ChoicesDropdownFilter)]
    search_fields = ["address"]
    search_help_text = "Part of an address, or all of it, spelled in any way."
    fields = ["workspace", "channel", "address", "reason", "note", "message_id", "created_at"]
    readonly_fields = ["reason", "message_id", "created_at"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow no change: suppressions are added and removed only."""
        return False

    def delete_model(self, request: HttpRequest, obj: Suppression) -> None:
        """Remove the suppression by its service."""
        remove_suppression(obj.workspace_id, obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Remove the chosen suppressions by their service."""
        for suppression in queryset:
            self.delete_model(request, suppression)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find an address by any spelling of it."""
        return super().get_search_results(request, queryset, canonical_email(search_term) or search_term)

    def save_model(self, request: HttpRequest, obj: Suppression, form: Any, change: bool) -> None:
        """Add the suppression by its service; one that exists stays as it is."""
        saved, _ = add_suppression(obj.workspace_id, channel=obj.channel, address=obj.address, note=obj.note)
        obj.pk, obj._state.adding = saved.pk, False
