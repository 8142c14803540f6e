"""Members: nobody gives more than they have, and a workspace keeps an owner."""

from contextlib import suppress

import pytest
from django.test import Client
from django.urls import reverse

from tests.segments.test_races import at_once
from tests.workspaces.factories import MembershipFactory, UserFactory, WorkspaceFactory, a_key, an_application
from workspaces.errors import LastOwner
from workspaces.models import ROLE_SCOPES, ApiKey, Application, Membership, Role, User
from workspaces.scopes import ALL_SCOPES
from workspaces.services import add_member

pytestmark = pytest.mark.django_db


def test_the_last_owner_stays():
    owner = MembershipFactory.create(role=Role.OWNER)
    workspace = owner.workspace
    admin = MembershipFactory.create(workspace=workspace, role=Role.ADMIN)
    with pytest.raises(LastOwner):
        add_member(workspace.id, owner.user, role=Role.ADMIN)
    add_member(workspace.id, admin.user, role=Role.OWNER)
    add_member(workspace.id, owner.user, role=Role.ADMIN)
    assert Membership.objects.get(workspace=workspace, role=Role.OWNER).user == admin.user


@pytest.mark.django_db(transaction=True)
def test_two_owners_who_leave_at_once_do_not_both():
    one = MembershipFactory.create(role=Role.OWNER)
    two = MembershipFactory.create(workspace=one.workspace, role=Role.OWNER)

    def leave(user):
        with suppress(LastOwner):
            add_member(one.workspace.id, user, role=Role.VIEWER)

    at_once(lambda: leave(one.user), lambda: leave(two.user))

    assert Membership.objects.filter(workspace=one.workspace, role=Role.OWNER).count() == 1


class Staff:
    """A member of staff, as one role in one workspace."""

    def __init__(self, role, **more):
        user = UserFactory.create(is_staff=True, **more)
        self.membership = MembershipFactory.create(user=user, role=role)
        self.workspace = self.membership.workspace
        self.browser = Client()
        self.browser.force_login(user)

    def post(self, model, row=None, **fields):
        page = f"admin:workspaces_{model}_{'change' if row else 'add'}"
        return self.browser.post(reverse(page, args=[row.pk] if row else []), fields)

    def save_members(self, *rows):
        """Have the workspace's page saved with these members: the row or None, the user, the role, if it goes."""
        kept = [row for row, *_ in rows if row]
        fields = {
            "name": self.workspace.name,
            "identity_field": "email",
            "quarantine": "batches",
            "memberships-TOTAL_FORMS": len(rows),
            "memberships-INITIAL_FORMS": len(kept),
        }
        for place, (row, user, role, *goes) in enumerate(sorted(rows, key=lambda one: one[0] is None)):
            prefix = f"memberships-{place}-"
            fields |= {f"{prefix}user": user.pk, f"{prefix}role": role, f"{prefix}id": row.pk if row else ""}
            fields |= {f"{prefix}workspace": self.workspace.pk}
            fields |= {f"{prefix}DELETE": "on"} if goes else {}
        return self.post("workspace", self.workspace, **fields)


def test_staff_give_no_role_above_their_own():
    staff = Staff(Role.ADMIN)
    own, other = staff.membership, a_colleague(staff)
    owner = MembershipFactory.create(workspace=staff.workspace, role=Role.OWNER)
    for rows in (
        [(own, own.user, "owner")],
        [(Membership.objects.get(user=other), other, "owner")],
        [(owner, owner.user, "viewer")],
        [(owner, owner.user, "owner", True)],
    ):
        assert b"Your role does not let you" in staff.save_members(*rows).content
    seen = Membership.objects.get(user=other)
    assert staff.save_members((seen, other, "admin")).status_code == 302
    assert set(Membership.objects.filter(workspace=staff.workspace).values_list("user", "role")) == {
        (own.user_id, "admin"),
        (owner.user_id, "owner"),
        (other.pk, "admin"),
    }


def a_colleague(staff):
    """Return another member of the workspace: whom staff see is whom they may choose."""
    return MembershipFactory.create(workspace=staff.workspace, role=Role.VIEWER).user


def test_staff_who_edit_give_no_role():
    staff = Staff(Role.EDITOR)
    for role in ("admin", "editor"):
        assert staff.save_members((None, a_colleague(staff), role)).status_code == 403


def test_the_last_owner_stays_in_the_admin():
    staff = Staff(Role.OWNER, is_superuser=True)
    own, other = staff.membership, UserFactory.create()
    for row in ((own, own.user, "admin"), (own, own.user, "owner", True)):
        assert b"keeps at least one owner" in staff.save_members(row).content
    assert (
        staff.browser.post(
            reverse("admin:workspaces_user_delete", args=[own.user.pk]), {"post": "yes"}
        ).status_code
        == 403
    )
    assert staff.save_members((own, own.user, "admin"), (None, other, "owner")).status_code == 302
    assert Membership.objects.get(user=other).role == Role.OWNER


def fields_of_key(workspace, *scopes):
    return {"workspace": workspace.pk, "name": "k", "scopes": scopes, "beginning": "hr_"}


@pytest.fixture
def weak_admins(monkeypatch):
    """Let admins issue keys, and do little else."""
    monkeypatch.setitem(ROLE_SCOPES, Role.ADMIN.value, frozenset({"keys:read", "keys:write", "events:read"}))


def test_staff_issue_no_key_that_may_do_more(weak_admins):
    staff, elsewhere = Staff(Role.ADMIN), WorkspaceFactory.create()
    assert (
        b"You may not do these here"
        in staff.post("apikey", **fields_of_key(staff.workspace, "events:read", "events:write")).content
    )
    assert staff.post("apikey", **fields_of_key(elsewhere, "events:read")).status_code == 200
    assert staff.post("apikey", **fields_of_key(staff.workspace, "events:read")).status_code == 302
    assert [key.scopes for key in ApiKey.objects.all()] == [["events:read"]]


def test_staff_do_nothing_to_a_key_that_may_do_more(weak_admins):
    staff = Staff(Role.ADMIN)
    strong, weak = a_key(staff.workspace).api_key, a_key(staff.workspace, scopes=["events:read"]).api_key
    answer = staff.post("apikey", strong, **fields_of_key(staff.workspace, *ALL_SCOPES))
    assert answer.status_code == 403
    listed = reverse("admin:workspaces_apikey_changelist") + f"?workspace={staff.workspace.pk}"
    for action in ("revoke", "delete_selected"):
        wanted = {"action": action, "_selected_action": [strong.pk, weak.pk], "post": "yes"}
        staff.browser.post(listed, wanted)
    assert ApiKey.objects.get(pk=strong.pk).revoked_at is None
    assert ApiKey.objects.get(pk=weak.pk).revoked_at is not None


def test_staff_make_no_application_that_may_do_more(weak_admins):
    staff = Staff(Role.ADMIN)
    fields = {
        "workspace": staff.workspace.pk,
        "name": "a",
        "client_type": "confidential",
        "authorization_grant_type": "client-credentials",
    }
    assert (
        b"You may not do these here" in staff.post("application", **fields, scopes=["events:write"]).content
    )
    assert staff.post("application", **fields, scopes=["events:read"]).status_code == 302
    strong = an_application(staff.workspace).application
    assert staff.post("application", strong, **fields, scopes=["events:read"]).status_code == 403
    assert set(Application.objects.get(pk=strong.pk).scopes) == ALL_SCOPES


@pytest.mark.parametrize("role", [Role.EDITOR, Role.VIEWER])
def test_staff_who_issue_no_keys_see_none(role):
    staff = Staff(role)
    strong = a_key(staff.workspace).api_key
    assert staff.post("apikey", **fields_of_key(staff.workspace, "events:read")).status_code == 403
    assert staff.post("apikey", strong, **fields_of_key(staff.workspace, "events:read")).status_code == 404
    assert ApiKey.objects.get().scopes == strong.scopes


def test_staff_do_not_make_superusers():
    staff = Staff(Role.OWNER)
    own = staff.membership.user
    above = MembershipFactory.create(workspace=staff.workspace, user__is_superuser=True).user
    fields = {"username": "x", "is_superuser": "on", "is_staff": "on", "is_active": "on"}
    fields |= {"memberships-TOTAL_FORMS": 0, "memberships-INITIAL_FORMS": 0}
    staff.post("user", own, **fields)
    assert not User.objects.get(pk=own.pk).is_superuser
    assert staff.post("user", above, **fields).status_code == 403
    password = reverse("admin:auth_user_password_change", args=[above.pk])
    changed = {"password1": "correct horse 2", "password2": "correct horse 2", "usable_password": "true"}
    assert staff.browser.post(password, changed).status_code == 403
