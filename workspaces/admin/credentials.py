"""API keys, OAuth applications and tokens."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from oauth2_provider.generators import generate_client_secret
from oauth2_provider.models import AccessToken, Grant, IDToken, RefreshToken
from unfold.decorators import display
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
)

from config import clock
from workspaces.models import (
    ApiKey,
    Application,
    TokenFamily,
)
from workspaces.scopes import ALL_SCOPES, SCOPES
from workspaces.services import KEY_PREFIX, issue_api_key, revoke_api_key
from workspaces.staff.access import get_role_access
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.forms import WorkspaceModelForm
from workspaces.staff.model_admin import ReadOnlyAdminMixin, RoleModelAdmin, WorkspaceModelAdmin

_SCOPE_CHOICES = [(scope, f"{scope} · {meaning}") for scope, meaning in SCOPES.items()]


_STATE_COLOURS = {"active": "success", "expired": "warning", "revoked": "danger"}


# The OAuth library registers its own pages, which show secrets.
for library_model in (Application, AccessToken, Grant, IDToken, RefreshToken):
    if admin.site.is_registered(library_model):
        admin.site.unregister(library_model)


class ScopesField(forms.MultipleChoiceField):
    """Scopes as check boxes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=_SCOPE_CHOICES, widget=UnfoldAdminCheckboxSelectMultipleWidget(), **kwargs)


class GrantForm(WorkspaceModelForm):
    """A form that grants at most the scopes that the member of staff has in the workspace."""

    def clean(self) -> dict[str, Any]:
        """Refuse scopes beyond the user's own."""
        cleaned = super().clean()
        workspace = cleaned.get("workspace") or getattr(self.instance, "workspace", None)
        own = self.access.scopes_in(workspace.pk, ALL_SCOPES) if workspace else ALL_SCOPES
        if beyond := sorted(set(cleaned.get("scopes") or ()) - own):
            self.add_error("scopes", f"You may not do these here yourself: {', '.join(beyond)}")
        return cleaned


class GrantAdmin(WorkspaceModelAdmin):
    """Credentials: those with more scopes than the user's own can only be viewed."""

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse credentials with more scopes than the user's."""
        return super().has_change_permission(request, obj) and self.is_within(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse credentials with more scopes than the user's."""
        return super().has_delete_permission(request, obj) and self.is_within(request, obj)

    def is_within(self, request: HttpRequest, obj: Any) -> bool:
        """Tell whether a credential has no scope beyond the user's."""
        return obj is None or get_role_access(request).scopes_in(obj.workspace_id, ALL_SCOPES) >= set(
            obj.scopes
        )


class ApiKeyForm(GrantForm):
    """The editable fields of an API key."""

    scopes = ScopesField()
    beginning = forms.CharField(
        initial=KEY_PREFIX,
        max_length=16,
        required=False,
        help_text="What the key starts with, for clients that expect e.g. AS_ or cos_.",
    )

    class Meta:
        model = ApiKey
        fields = ["workspace", "name", "scopes", "rate_limit", "expires_at"]

    def clean_expires_at(self) -> Any:
        """Refuse an expiry in the past."""
        expires_at = self.cleaned_data.get("expires_at")
        if "expires_at" in self.changed_data and expires_at is not None and expires_at <= clock.now():
            raise forms.ValidationError("The expiry must be in the future.")
        return expires_at

    def clean_beginning(self) -> str:
        """Allow only characters that headers can carry."""
        beginning: str = self.cleaned_data.get("beginning") or ""
        if not beginning.replace("_", "").replace("-", "").isalnum() and beginning:
            raise forms.ValidationError("Letters, digits, _ and - only.")
        if not beginning.isascii():
            raise forms.ValidationError("ASCII characters only.")
        return beginning


@admin.register(ApiKey)
class ApiKeyAdmin(GrantAdmin):
    """API keys; the secret of a new one is shown once."""

    resource = "keys"
    form = ApiKeyForm
    list_display = ["name", "masked_key", "state", "scope_count", "last_used_at", "expires_at", "created_at"]
    list_filter = [WorkspaceFilter]
    search_fields = ["name", "prefix"]
    search_help_text = "Name, or the beginning of the key"
    readonly_fields = ["masked_key", "state", "created_at", "last_used_at", "revoked_at"]
    actions = ["revoke"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Return the form's fields of a new key, or all fields of an existing one."""
        asked = ["workspace", "name", "scopes", "rate_limit", "expires_at"]
        return [*asked, *self.readonly_fields] if obj else [*asked, "beginning"]

    @admin.display(description="key")
    def masked_key(self, api_key: ApiKey) -> str:
        """Return the key's beginning."""
        return api_key.masked

    @display(description="state", label=_STATE_COLOURS)  # type: ignore[untyped-decorator]  # unfold has no types
    def state(self, api_key: ApiKey) -> str:
        """Return whether the key is active, expired or revoked."""
        return api_key.state(clock.now())

    @admin.display(description="scopes")
    def scope_count(self, api_key: ApiKey) -> str:
        """Return the number of scopes."""
        return f"{len(api_key.scopes)} of {len(SCOPES)}"

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Issue a new key and show its secret, or save changes of an existing one."""
        if change:
            obj.save(update_fields=["name", "scopes", "rate_limit", "expires_at"])
            return
        issued = issue_api_key(
            obj.workspace_id,
            obj.name,
            obj.scopes,
            expires_at=obj.expires_at,
            prefix=form.cleaned_data["beginning"],
            rate_limit=obj.rate_limit,
        )
        obj.__dict__.update(issued.api_key.__dict__)
        messages.warning(request, f"The key, shown only this once: {issued.secret}")

    @admin.action(description="Revoke the selected keys", permissions=["change"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiKey]) -> None:
        """Revoke keys, effective at once."""
        keys = list(queryset.filter(revoked_at=None))
        within = [api_key for api_key in keys if self.is_within(request, api_key)]
        for api_key in within:
            revoke_api_key(api_key.workspace_id, api_key.id)
        messages.success(request, f"{len(within)} keys revoked.")
        if len(within) < len(keys):
            messages.error(request, f"{len(keys) - len(within)} keys may do more than you, and stay.")


class ApplicationForm(GrantForm):
    """An OAuth client, for the authorization code or client credentials grant."""

    scopes = ScopesField()
    authorization_grant_type = forms.ChoiceField(
        choices=[
            (Application.GRANT_CLIENT_CREDENTIALS, "Client credentials"),
            (Application.GRANT_AUTHORIZATION_CODE, "Authorization code with PKCE"),
        ]
    )

    class Meta:
        model = Application
        fields = [
            "workspace",
            "name",
            "scopes",
            "client_type",
            "authorization_grant_type",
            "redirect_uris",
            "rate_limit",
        ]


@admin.register(Application)
class ApplicationAdmin(GrantAdmin):
    """OAuth clients; the secret of a new one is shown once."""

    resource = "keys"
    form = ApplicationForm
    list_display = ["name", "client_id", "authorization_grant_type", "client_type", "created"]
    list_filter = [WorkspaceFilter]
    search_fields = ["name", "client_id"]
    search_help_text = "Name or client id"
    readonly_fields = ["client_id", "created", "updated"]
    fixed_fields = ["workspace", "client_type"]
    view_on_site = False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Add the generated fields of an existing client."""
        return [*ApplicationForm.Meta.fields, *(self.readonly_fields if obj else [])]

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        """Save; generate and show the secret of a new client."""
        is_public = obj.client_type == Application.CLIENT_PUBLIC
        if not change:
            secret = obj.client_secret = "" if is_public else generate_client_secret()
        super().save_model(request, obj, form, change)
        if not change and not is_public:
            messages.warning(request, f"The client secret, shown only this once: {secret}")


@admin.register(AccessToken)
class AccessTokenAdmin(ReadOnlyAdminMixin, RoleModelAdmin):
    """OAuth access tokens; deleting one revokes it."""

    resource = "keys"
    workspace_path = "application__workspace"
    list_filter = [WorkspaceFilter]
    list_before_template = "admin/workspace_shown.html"
    list_display = ["id", "application", "user", "scope", "expires", "created"]
    list_select_related = ["application", "user"]
    search_fields = ["application__name", "application__client_id", "user__username"]
    search_help_text = "Application or user"
    fields = ["application", "user", "scope", "expires", "created"]
    ordering = ["-id"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let staff revoke a token."""
        return self.may(request, "delete", obj)


@admin.register(TokenFamily)
class TokenFamilyAdmin(ReadOnlyAdminMixin, RoleModelAdmin):
    """Sign-ins by JWT; deleting one revokes its tokens."""

    resource = None
    list_display = ["id", "user", "expires_at"]
    list_select_related = ["user"]
    ordering = ["-expires_at"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let superusers revoke."""
        return self.may(request, "delete", obj)
