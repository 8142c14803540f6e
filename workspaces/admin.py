"""Tenants, users and credentials for staff."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.db.models import QuerySet
from django.http import HttpRequest
from oauth2_provider.generators import generate_client_secret
from oauth2_provider.models import AccessToken, Grant, IDToken, RefreshToken
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextareaWidget

from config import clock
from workspaces.access import scopes_of_member
from workspaces.errors import LastOwner
from workspaces.models import ROLE_SCOPES, ApiKey, Application, Membership, Role, User, Workspace
from workspaces.origins import MOST_ORIGINS, NotAnOrigin, read_origins
from workspaces.scopes import ALL_SCOPES, SCOPES
from workspaces.services import KEY_PREFIX, is_only_owner, issue_api_key, revoke_api_key
from workspaces.staff import (
    MachineWrittenMixin,
    StaffAdmin,
    StaffForm,
    StaffInlineFormSet,
    StrictFieldsMixin,
    TenantAdmin,
    TenantForm,
    WorkspaceFilter,
)

_SCOPE_CHOICES = [(scope, f"{scope} · {meaning}") for scope, meaning in SCOPES.items()]

_STATE_COLOURS = {"active": "success", "expired": "warning", "revoked": "danger"}

# The library shows its tables, secrets' columns among them, in pages of its own.
for library_model in (Application, AccessToken, Grant, IDToken, RefreshToken):
    if admin.site.is_registered(library_model):
        admin.site.unregister(library_model)
admin.site.unregister(Group)


class ScopesField(forms.MultipleChoiceField):
    """Scopes as check boxes."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=_SCOPE_CHOICES, widget=UnfoldAdminCheckboxSelectMultipleWidget(), **kwargs)


def _grantable(user: Any, workspace: Workspace | None) -> frozenset[str]:
    """Return the scopes that a member of staff may give in a workspace: their own there."""
    if user.is_superuser:
        return ALL_SCOPES
    membership = Membership.objects.filter(user=user, workspace=workspace).first() if workspace else None
    return scopes_of_member(user, membership.role if membership else None)


class GrantForm(TenantForm):
    """What gives scopes: no more of them than the member of staff has in the workspace."""

    asker: Any = None

    def clean(self) -> dict[str, Any]:
        """Refuse more than the asker's own."""
        cleaned = super().clean()
        workspace = cleaned.get("workspace") or getattr(self.instance, "workspace", None)
        own = _grantable(self.asker, workspace) if self.asker is not None else ALL_SCOPES
        if beyond := sorted(set(cleaned.get("scopes") or ()) - own):
            self.add_error("scopes", f"You may not do these here yourself: {', '.join(beyond)}")
        return cleaned


class GrantAdmin(TenantAdmin):
    """Credentials: who may do less than one may look at it, and do nothing with it."""

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Tell the form who asks."""
        form = super().get_form(request, obj, change=change, **kwargs)
        form.asker = request.user
        return form

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let nobody change what may do more than they."""
        return super().has_change_permission(request, obj) and self.is_within(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let nobody delete what may do more than they."""
        return super().has_delete_permission(request, obj) and self.is_within(request, obj)

    def is_within(self, request: HttpRequest, obj: Any) -> bool:
        """Tell whether a credential may do no more than the member of staff."""
        return obj is None or set(obj.scopes) <= _grantable(request.user, obj.workspace)


class MembershipFormSet(StaffInlineFormSet):
    """Members: nobody gives more than their own role, and a workspace keeps an owner."""

    asker: Any = None

    def clean(self) -> None:
        """Look at what the workspaces' members would be. Raises ValidationError."""
        super().clean()
        if any(self.errors):
            return
        left, kept = set(), set()
        for form in self.forms:
            is_gone = form in self.deleted_forms
            if not is_gone and not form.has_changed():
                continue
            before = Membership.objects.filter(pk=form.instance.pk).first()
            after = None if is_gone else form.instance
            self._refuse_higher(before, after)
            if before is not None and before.role == Role.OWNER:
                left.add((before.workspace_id, before.pk))
            if after is not None and after.role == Role.OWNER:
                kept.add(after.workspace_id)
        for workspace_id in {one for one, _ in left} - kept:
            # Two owners who leave at once would each find the other.
            Workspace.objects.select_for_update().get(pk=workspace_id)
            owners = Membership.objects.filter(workspace_id=workspace_id, role=Role.OWNER)
            if not owners.exclude(pk__in=[pk for _, pk in left]).exists():
                raise forms.ValidationError(LastOwner().sentence)

    def _refuse_higher(self, *states: Membership | None) -> None:
        """Refuse a role, given or taken, that lets its member do more than who asks."""
        for membership in states:
            if membership is None or self.asker is None or membership.workspace._state.adding:
                continue
            own = _grantable(self.asker, membership.workspace)
            outranked = membership.role == Role.OWNER and not _is_owner(self.asker, membership.workspace)
            if outranked or not ROLE_SCOPES.get(membership.role, frozenset()) <= own:
                raise forms.ValidationError(f"Your role does not let you give or take that of {membership}.")


def _is_owner(user: Any, workspace: Workspace) -> bool:
    if user.is_superuser:
        return True
    return Membership.objects.filter(user=user, workspace=workspace, role=Role.OWNER).exists()


class MembershipInline(StrictFieldsMixin, TabularInline):  # type: ignore[misc]  # unfold has no types
    """Who is in a workspace, and which workspaces a user is in."""

    model = Membership
    form = StaffForm
    formset = MembershipFormSet
    extra = 0
    autocomplete_fields = ["user", "workspace"]

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Tell the rows who asks."""
        formset = super().get_formset(request, obj, **kwargs)
        formset.asker = request.user
        return formset

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """Read the names along with the rows."""
        return super().get_queryset(request).select_related("user", "workspace")  # type: ignore[no-any-return]


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, StaffAdmin):  # type: ignore[misc]  # Django's is stricter
    """What groups of staff may do."""


@admin.register(User)
class UserAdmin(DjangoUserAdmin, StaffAdmin):  # type: ignore[misc, type-arg]  # not generic when it runs
    """People who sign in."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    inlines = [MembershipInline]
    list_display = ["username", "email", "first_name", "last_name", "is_staff", "is_active"]
    readonly_fields = ["last_login", "date_joined"]
    add_fieldsets = ((None, {"fields": ("username", "email", "password1", "password2")}),)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Let superusers alone say who may do what in the admin."""
        own = () if request.user.is_superuser else ("is_staff", "is_superuser", "groups", "user_permissions")
        return [*super().get_readonly_fields(request, obj), *own]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let superusers alone change a superuser, whose password would be theirs."""
        is_above = obj is not None and obj.is_superuser and not request.user.is_superuser
        return super().has_change_permission(request, obj) and not is_above

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Keep superusers from others, and the only owner of a workspace from everybody."""
        is_above = obj is not None and obj.is_superuser and not request.user.is_superuser
        return super().has_delete_permission(request, obj) and not is_above and not is_only_owner(obj)

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        """Ask for memberships once the user exists."""
        return self.inlines if obj else []


class OriginsField(forms.CharField):
    """Origins, one a line."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        """Show a list as lines."""
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        """Return the origins. Raises ValidationError."""
        try:
            origins = read_origins(super().clean(value).split())
        except NotAnOrigin as error:
            raise forms.ValidationError(str(error)) from error
        if len(origins) > MOST_ORIGINS:
            raise forms.ValidationError(f"At most {MOST_ORIGINS} origins")
        return origins

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare lines."""
        return super().has_changed(self.prepare_value(initial), data)


class WorkspaceForm(StaffForm):
    """What staff decides about a workspace."""

    allowed_origins = OriginsField(
        required=False,
        help_text="Sites whose pages may send events from a browser, one a line: https://shop.example",
    )

    class Meta:
        model = Workspace
        fields = ["name", "identity_field", "allowed_origins"]


@admin.register(Workspace)
class WorkspaceAdmin(StaffAdmin):
    """Tenants and their members."""

    inlines = [MembershipInline]
    list_display = ["name", "identity_field", "member_count", "created_at"]
    search_fields = ["name", "id"]
    search_help_text = "Name or id"
    form = WorkspaceForm
    readonly_fields = ["id", "created_at"]
    fields = ["name", "identity_field", "allowed_origins", "id", "created_at"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workspace]:
        """Read the members of all rows in one statement."""
        return super().get_queryset(request).prefetch_related("memberships")  # type: ignore[no-any-return]

    @admin.display(description="members")
    def member_count(self, workspace: Workspace) -> int:
        """Return how many members it has."""
        return len(workspace.memberships.all())


class ApiKeyForm(GrantForm):
    """What staff decides about a key; the rest is the machine's."""

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
        """Refuse a key that could never be used."""
        expires_at = self.cleaned_data.get("expires_at")
        if "expires_at" in self.changed_data and expires_at is not None and expires_at <= clock.now():
            raise forms.ValidationError("The expiry must be in the future.")
        return expires_at

    def clean_beginning(self) -> str:
        """Keep to what any header can carry."""
        beginning: str = self.cleaned_data.get("beginning") or ""
        if not beginning.replace("_", "").replace("-", "").isalnum() and beginning:
            raise forms.ValidationError("Letters, digits, _ and - only.")
        if not beginning.isascii():
            raise forms.ValidationError("ASCII characters only.")
        return beginning


@admin.register(ApiKey)
class ApiKeyAdmin(GrantAdmin):
    """Keys: issued here, the secret shown once; the hash is never shown."""

    form = ApiKeyForm
    list_display = ["name", "masked_key", "state", "scope_count", "last_used_at", "expires_at", "created_at"]
    list_filter = [WorkspaceFilter]
    search_fields = ["name", "prefix"]
    search_help_text = "Name, or the beginning of the key"
    readonly_fields = ["masked_key", "state", "created_at", "last_used_at", "revoked_at"]
    actions = ["revoke"]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Ask for the beginning of a new key, show the facts of one that exists."""
        asked = ["workspace", "name", "scopes", "rate_limit", "expires_at"]
        return [*asked, *self.readonly_fields] if obj else [*asked, "beginning"]

    @admin.display(description="key")
    def masked_key(self, api_key: ApiKey) -> str:
        """Return as much of the key as may be seen."""
        return api_key.masked

    @display(description="state", label=_STATE_COLOURS)  # type: ignore[untyped-decorator]  # unfold has no types
    def state(self, api_key: ApiKey) -> str:
        """Return whether the key opens anything now."""
        return api_key.state(clock.now())

    @admin.display(description="scopes")
    def scope_count(self, api_key: ApiKey) -> str:
        """Return how much the key may do."""
        return f"{len(api_key.scopes)} of {len(SCOPES)}"

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:
        """Issue a new key and show its secret, or save what may be changed of an old one."""
        if change:
            obj.save(update_fields=["name", "scopes", "rate_limit", "expires_at"])
            return
        issued = issue_api_key(
            obj.workspace,
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
        keys = list(queryset.filter(revoked_at=None).select_related("workspace"))
        within = [api_key for api_key in keys if self.is_within(request, api_key)]
        for api_key in within:
            revoke_api_key(api_key.workspace, api_key.id)
        messages.success(request, f"{len(within)} keys revoked.")
        if len(within) < len(keys):
            messages.error(request, f"{len(keys) - len(within)} keys may do more than you, and stay.")


class ApplicationForm(GrantForm):
    """An OAuth client of the two kinds that are served."""

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
    """OAuth clients: created here, the secret shown once."""

    form = ApplicationForm
    list_display = ["name", "client_id", "authorization_grant_type", "client_type", "created"]
    list_filter = [WorkspaceFilter]
    search_fields = ["name", "client_id"]
    search_help_text = "Name or client id"
    readonly_fields = ["client_id", "created", "updated"]
    fixed_fields = ["workspace", "client_type"]
    view_on_site = False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Show the machine's facts of a client that exists."""
        return [*ApplicationForm.Meta.fields, *(self.readonly_fields if obj else [])]

    def save_model(self, request: HttpRequest, obj: Application, form: Any, change: bool) -> None:
        """Give a new client a secret, and show it."""
        is_public = obj.client_type == Application.CLIENT_PUBLIC
        if not change:
            secret = obj.client_secret = "" if is_public else generate_client_secret()
        super().save_model(request, obj, form, change)
        if not change and not is_public:
            messages.warning(request, f"The client secret, shown only this once: {secret}")


@admin.register(AccessToken)
class AccessTokenAdmin(MachineWrittenMixin, StaffAdmin):
    """Access tokens that applications hold; deleting one revokes it."""

    list_display = ["id", "application", "user", "scope", "expires", "created"]
    list_select_related = ["application", "user"]
    search_fields = ["application__name", "application__client_id", "user__username"]
    search_help_text = "Application or user"
    fields = ["application", "user", "scope", "expires", "created"]
    ordering = ["-id"]

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let staff revoke a token."""
        return bool(request.user.has_perm("oauth2_provider.delete_accesstoken"))


@admin.register(LogEntry)
class LogEntryAdmin(MachineWrittenMixin, StaffAdmin):
    """What members of staff changed by hand, the newest first."""

    list_display = ["action_time", "user", "action", "content_type", "object_repr", "change"]
    list_filter = [("action_flag", ChoicesDropdownFilter)]
    list_select_related = ["user", "content_type"]
    sortable_by = ()
    search_fields = ["object_id__exact", "user__username"]
    search_help_text = "The whole id of what was changed, or who changed it."
    fields = ["action_time", "user", "action", "content_type", "object_id", "object_repr", "change"]
    ordering = ["-action_time", "-id"]

    @admin.display(description="action")
    def action(self, entry: LogEntry) -> str:
        """Return whether something was added, changed or deleted."""
        return str(entry.get_action_flag_display())

    @admin.display(description="what")
    def change(self, entry: LogEntry) -> str:
        """Return what was changed, in words."""
        return entry.get_change_message()
