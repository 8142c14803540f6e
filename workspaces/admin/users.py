"""Users, their memberships, and groups."""

from collections.abc import Collection
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldBooleanSwitchWidget,
)

from workspaces.admin.base import MembershipInline, PeopleHistoryMixin, workspaces_of_user
from workspaces.models import (
    Membership,
    Role,
    User,
    Workspace,
)
from workspaces.services import add_member, is_only_owner
from workspaces.staff.access import RoleAccess, get_role_access
from workspaces.staff.model_admin import RoleModelAdmin

admin.site.unregister(Group)


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
