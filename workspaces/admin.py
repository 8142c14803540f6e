"""Admin of workspaces, users, credentials and the audit log."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from oauth2_provider.generators import generate_client_secret
from oauth2_provider.models import AccessToken, Grant, IDToken, RefreshToken
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from config import clock
from workspaces.errors import LastOwner
from workspaces.models import (
    ApiKey,
    Application,
    AuditEntry,
    BackfillJob,
    Membership,
    Role,
    TokenFamily,
    User,
    Workspace,
)
from workspaces.origins import MOST_ORIGINS, InvalidOrigin, parse_origins
from workspaces.scopes import ALL_SCOPES, SCOPES
from workspaces.services import KEY_PREFIX, add_member, is_only_owner, issue_api_key, revoke_api_key
from workspaces.staff.access import RoleAccess, get_role_access
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.forms import StrictModelForm, WorkspaceModelForm
from workspaces.staff.inlines import RoleInline, StrictInlineFormSet
from workspaces.staff.model_admin import ReadOnlyAdminMixin, RoleModelAdmin, WorkspaceModelAdmin
from workspaces.staff.permissions import admin_of

_SCOPE_CHOICES = [(scope, f"{scope} · {meaning}") for scope, meaning in SCOPES.items()]

_STATE_COLOURS = {"active": "success", "expired": "warning", "revoked": "danger"}

# The OAuth library registers its own pages, which show secrets.
for library_model in (Application, AccessToken, Grant, IDToken, RefreshToken):
    if admin.site.is_registered(library_model):
        admin.site.unregister(library_model)
admin.site.unregister(Group)


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


class MembershipFormSet(StrictInlineFormSet):
    """Members: no role above the user's own is granted or revoked, and an owner remains."""

    access: RoleAccess

    def clean(self) -> None:
        """Check the resulting members of each workspace. Raises ValidationError."""
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
        for workspace_id in {workspace_id for workspace_id, _ in left} - kept:
            # Of two owners who leave at the same time, each would still see the other.
            Workspace.objects.select_for_update().get(pk=workspace_id)
            owners = Membership.objects.in_workspace(workspace_id).filter(role=Role.OWNER)
            if not owners.exclude(pk__in=[pk for _, pk in left]).exists():
                raise forms.ValidationError(LastOwner().sentence)

    def _refuse_higher(self, *states: Membership | None) -> None:
        """Refuse granting or revoking a role above the user's own."""
        for membership in states:
            if membership is not None and not self.access.outranks(membership.workspace_id, membership.role):
                raise forms.ValidationError(f"Your role does not let you give or take that of {membership}.")


class MembershipInline(RoleInline):
    """Members of a workspace, or memberships of a user, in workspaces that the viewer administers."""

    resource = "keys"
    model = Membership
    form = StrictModelForm
    formset = MembershipFormSet
    extra = 0
    hide_title = True
    autocomplete_fields = ["user", "workspace"]

    def scope_of(self, action: str) -> str:
        """Return the scope to manage members."""
        return f"{self.resource}:{'read' if action == 'view' else 'write'}"

    def workspaces_of(self, row: User | Workspace) -> Collection[UUID]:
        """Return the page's workspace, or the workspaces of the page's user."""
        return [row.pk] if isinstance(row, Workspace) else workspaces_of_user(row)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Membership]:
        """Select users and workspaces along with the rows."""
        return super().get_queryset(request).select_related("user", "workspace")

    def get_formset(self, request: HttpRequest, obj: Any = None, **kwargs: Any) -> Any:
        """Give the formset the viewer's access."""
        formset = super().get_formset(request, obj, **kwargs)
        formset.access = get_role_access(request)
        return formset


def workspaces_of_user(user: User) -> list[UUID]:
    """Return the workspaces of a user."""
    return list(Membership.objects.filter(user=user).values_list("workspace_id", flat=True))


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, RoleModelAdmin):  # type: ignore[misc]  # Django's is stricter
    """Permission groups of staff; for superusers only."""

    resource = None


class MemberCreationForm(UserCreationForm):  # type: ignore[misc]  # unfold has no types
    """A new user, with the first workspace and role."""

    access: RoleAccess
    workspace = forms.ModelChoiceField(
        Workspace.objects.none(), widget=UnfoldAdminSelectWidget, help_text="Where the user is a member."
    )
    role = forms.ChoiceField(choices=Role.choices, initial=Role.VIEWER, widget=UnfoldAdminSelectWidget)
    is_staff = forms.BooleanField(
        required=False,
        initial=True,
        label="Staff status",
        widget=UnfoldBooleanSwitchWidget,
        help_text="May sign in here, and do what the role allows.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["workspace"].required = not self.access.is_superuser
        self.fields["workspace"].queryset = self.workspaces

    def clean(self) -> dict[str, Any]:
        """Refuse a role above the viewer's own."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        workspace, role = cleaned.get("workspace"), cleaned.get("role")
        if workspace and role and not self.access.outranks(workspace.pk, role):
            self.add_error("role", "This is beyond your own role in the workspace.")
        return cleaned


class PeopleHistoryMixin:
    """Show of a history only entries of workspaces whose members the viewer may see."""

    def get_paginator(self, request: HttpRequest, queryset: Any, *args: Any, **kwargs: Any) -> Any:
        if (
            queryset.model is LogEntry
            and (where := admin_of(User).workspaces_for(request, "view")) is not None
        ):
            queryset = audited_in(queryset, where)
        return super().get_paginator(request, queryset, *args, **kwargs)  # type: ignore[misc]  # a mixin


@admin.register(User)
class UserAdmin(PeopleHistoryMixin, DjangoUserAdmin, RoleModelAdmin):  # type: ignore[misc, type-arg]  # not generic when it runs
    """Users; members of staff see those of the workspaces that they administer.

    A user's address and password open all of the user's workspaces, so only those who administer all of them
    may change these. Others change memberships in their own workspaces only.
    """

    resource = "keys"
    form = UserChangeForm
    add_form = MemberCreationForm
    change_password_form = AdminPasswordChangeForm
    inlines = [MembershipInline]
    list_display = ["username", "email", "first_name", "last_name", "is_staff", "is_active"]
    list_filter = ["is_staff", "is_active"]
    readonly_fields = ["last_login", "date_joined"]
    add_fieldsets = (
        (None, {"fields": ("username", "email", "password1", "password2", "workspace", "role", "is_staff")}),
    )
    personal = ("username", "first_name", "last_name", "email", "is_active", "is_staff")

    def workspaces_of(self, row: User) -> Collection[UUID]:
        """Return the user's workspaces."""
        return workspaces_of_user(row)

    def in_workspaces(self, rows: QuerySet[User], workspaces: Collection[UUID]) -> QuerySet[User]:
        """Filter users by membership in the workspaces."""
        members = Membership.objects.filter(workspace_id__in=workspaces)
        return rows.filter(pk__in=members.values("user_id"))

    def is_managed(self, request: HttpRequest, user: User) -> bool:
        """Tell whether the viewer's role is as high in all of the user's workspaces."""
        access = get_role_access(request)
        if access.is_superuser:
            return True
        where = self.workspaces_for(request, "change") or ()
        roles = Membership.objects.filter(user=user).values_list("workspace_id", "role")
        return not user.is_superuser and all(
            workspace_id in where and access.outranks(workspace_id, role) for workspace_id, role in roles
        )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let only superusers change superusers: whoever sets a password has the account."""
        is_above = obj is not None and obj.is_superuser and not get_role_access(request).is_superuser
        return super().has_change_permission(request, obj) and not is_above

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Let only superusers delete users, and never the only owner of a workspace."""
        return get_role_access(request).is_superuser and not is_only_owner(obj)

    def get_inlines(self, request: HttpRequest, obj: Any) -> list[Any]:
        """Show memberships once the user exists."""
        return self.inlines if obj else []

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Offer Django's filters to superusers only."""
        found = [*super().get_list_filter(request)]
        return [*found, "is_superuser", "groups"] if get_role_access(request).is_superuser else found

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Show superuser status and permissions to superusers only."""
        if obj is None or get_role_access(request).is_superuser:
            return super().get_fieldsets(request, obj)
        password = ("password",) if self.is_managed(request, obj) else ()
        return [(None, {"fields": (*self.personal, *password, *self.readonly_fields)})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        """Make a user's own data read-only for those who do not administer all their workspaces."""
        shown = [*super().get_readonly_fields(request, obj)]
        return shown if obj is None or self.is_managed(request, obj) else [*shown, *self.personal]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Offer the workspaces where the viewer may add members."""
        form: Any = super().get_form(request, obj, change=change, **kwargs)
        where = self.workspaces_for(request, "add")
        form.workspaces = Workspace.objects.all() if where is None else Workspace.objects.filter(pk__in=where)
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Suggest the viewer's workspace if there is only one."""
        where = self.workspaces_for(request, "add") or []
        alone = {"workspace": where[0]} if len(where) == 1 else {}
        return {**alone, **super().get_changeform_initial_data(request)}

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Save, and add a new user to the workspace."""
        if not change:
            obj.is_staff = form.cleaned_data["is_staff"]
        super().save_model(request, obj, form, change)
        if not change and (workspace := form.cleaned_data.get("workspace")):
            add_member(workspace.id, obj, role=form.cleaned_data["role"])

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        """Set a password, if the viewer may change the user."""
        user: Any = self.get_object(request, id)
        if not self.is_managed(request, user):
            raise PermissionDenied
        return super().user_change_password(request, id, form_url)

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Save, and record the affected workspaces for the audit log.

        A membership, ended ones included, affects its workspace; the user's own data all the user's workspaces.
        """
        user: User = form.instance
        before = _places_of(user)
        super().save_related(request, form, formsets, change)
        after = _places_of(user)
        places = before | after if form.changed_data else before ^ after
        user.concerned = {workspace_id for workspace_id, _ in places}  # type: ignore[attr-defined]  # read by the log

    def affected_workspaces(self, row: User) -> Collection[UUID]:
        """Return the workspaces in whose audit log a change of the user appears."""
        found: Collection[UUID] | None = getattr(row, "concerned", None)
        return self.workspaces_of(row) if found is None else found


def _places_of(user: User) -> set[tuple[UUID, str]]:
    """Return a user's workspaces and roles."""
    return set(Membership.objects.filter(user=user).values_list("workspace_id", "role"))


def audited_in(entries: QuerySet[LogEntry], workspaces: Collection[UUID]) -> QuerySet[LogEntry]:
    """Filter log entries by affected workspaces."""
    own = AuditEntry.objects.filter(workspace_id__in=workspaces)
    return entries.filter(pk__in=own.values("entry_id"))


class OriginsField(forms.CharField):
    """A field for origins, one per line."""

    widget = UnfoldAdminTextareaWidget

    def prepare_value(self, value: Any) -> Any:
        """Join the list into lines."""
        return "\n".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        """Return the list of origins. Raises ValidationError."""
        try:
            origins = parse_origins(super().clean(value).split())
        except InvalidOrigin as error:
            raise forms.ValidationError(str(error)) from error
        if len(origins) > MOST_ORIGINS:
            raise forms.ValidationError(f"At most {MOST_ORIGINS} origins")
        return origins

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare as lines."""
        return super().has_changed(self.prepare_value(initial), data)


class WorkspaceForm(StrictModelForm):
    """The editable settings of a workspace."""

    allowed_origins = OriginsField(
        required=False,
        help_text="Sites whose pages may send events from a browser, one a line: https://shop.example",
    )

    class Meta:
        model = Workspace
        fields = ["name", "identity_field", "allowed_origins", "quarantine"]


@admin.register(Workspace)
class WorkspaceAdmin(PeopleHistoryMixin, RoleModelAdmin):
    """Workspaces: members may view them, administrators change them."""

    resource = "keys"
    workspace_path = "id"
    inlines = [MembershipInline]
    list_display = ["name", "identity_field", "member_count", "created_at"]
    search_fields = ["name", "id"]
    search_help_text = "Name or id"
    form = WorkspaceForm
    readonly_fields = ["id", "created_at"]
    fields = ["name", "identity_field", "allowed_origins", "quarantine", "id", "created_at"]

    def scope_of(self, action: str) -> str | None:
        """Let all members view, administrators change, and superusers add and delete workspaces."""
        scopes: dict[str, str] = {"view": "", "change": f"{self.resource}:write"}
        return scopes.get(action)

    def workspaces_of(self, row: Workspace) -> Collection[UUID]:
        """Return the workspace itself."""
        return [row.pk]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Workspace]:
        """Count the members of all rows in one statement."""
        return super().get_queryset(request).prefetch_related("memberships")

    @admin.display(description="members")
    def member_count(self, workspace: Workspace) -> int:
        """Return the number of members."""
        return len(workspace.memberships.all())


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


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdminMixin, RoleModelAdmin):
    """Affected workspaces of log entries."""

    resource = None
    list_display = ["entry", "workspace"]
    list_select_related = ["entry", "workspace"]
    ordering = ["-id"]


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdminMixin, RoleModelAdmin):
    """The audit log: changes by staff, newest first."""

    resource = "keys"
    list_display = ["action_time", "user", "action", "content_type", "object_repr", "change"]
    list_filter = [("action_flag", ChoicesDropdownFilter)]
    list_select_related = ["user", "content_type"]
    sortable_by = ()
    search_fields = ["object_id__exact", "user__username"]
    search_help_text = "The whole id of what was changed, or who changed it."
    fields = ["action_time", "user", "action", "content_type", "object_id", "object_repr", "change"]
    ordering = ["-action_time", "-id"]

    def workspaces_of(self, row: LogEntry) -> Collection[UUID]:
        """Return the workspaces that an entry affects."""
        return list(AuditEntry.objects.filter(entry=row).values_list("workspace_id", flat=True))

    def in_workspaces(self, rows: QuerySet[LogEntry], workspaces: Collection[UUID]) -> QuerySet[LogEntry]:
        """Filter entries by affected workspaces."""
        return audited_in(rows, workspaces)

    @admin.display(description="action")
    def action(self, entry: LogEntry) -> str:
        """Return whether something was added, changed or deleted."""
        return str(entry.get_action_flag_display())

    @admin.display(description="what")
    def change(self, entry: LogEntry) -> str:
        """Return what was changed, in words."""
        return entry.get_change_message()


@admin.register(BackfillJob)
class BackfillJobAdmin(ReadOnlyAdminMixin, WorkspaceModelAdmin):
    """Work over many rows: how far it has come."""

    resource = "keys"
    list_display = ["started_at", "kind", "workspace", "status", "done", "total", "failed", "finished_at"]
    list_select_related = ["workspace"]
    sortable_by = ()
    ordering = ["-started_at"]
    search_fields = ["kind"]
    search_help_text = "What kind of work"
    fields = [
        *("workspace", "kind", "part", "status", "done", "total", "failed", "counts", "error"),
        *("started_at", "progressed_at", "finished_at"),
    ]
