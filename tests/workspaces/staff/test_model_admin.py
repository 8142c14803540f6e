"""Who administers a workspace says who is in it, up to the own role; what is of a person is not theirs alone."""

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.test import Client
from django.urls import reverse
from unfold.admin import ModelAdmin, TabularInline

from campaigns.models import ChannelSettings
from contacts.models import Contact, Tag
from tests.contacts.factories import a_contact
from tests.workspaces.factories import MembershipFactory, UserFactory, WorkspaceFactory, a_key
from workspaces.models import ROLE_SCOPES, ApiKey, AuditEntry, Membership, Role, User
from workspaces.scopes import READ_SCOPES
from workspaces.staff.checks import check_admin
from workspaces.staff.filters import WorkspaceFilter
from workspaces.staff.model_admin import RoleModelAdmin, WorkspaceModelAdmin
from workspaces.staff.permissions import RolePermissionMixin

pytestmark = pytest.mark.django_db


@pytest.fixture
def workspace():
    return WorkspaceFactory.create()


def signed_in(user):
    client = Client()
    client.force_login(user)
    return client


def staff_with(*roles, permissions=()):
    """Return a member of staff with a role in each of some workspaces, signed in."""
    user = UserFactory.create(is_staff=True)
    for workspace, role in roles:
        MembershipFactory.create(workspace=workspace, user=user, role=role)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return signed_in(user)


def colleague(*roles, **values):
    user = UserFactory.create(**values)
    for workspace, role in roles:
        MembershipFactory.create(workspace=workspace, user=user, role=role)
    return user


def page(model, kind, *args):
    return reverse(f"admin:workspaces_{model}_{kind}", args=args)


def memberships(*rows, initial=0):
    """Return the inline's part of a form."""
    counts = {"memberships-TOTAL_FORMS": str(len(rows)), "memberships-INITIAL_FORMS": str(initial)}
    return counts | {
        f"memberships-{n}-{name}": str(value) for n, row in enumerate(rows) for name, value in row.items()
    }


def role_of(user, workspace):
    return Membership.objects.filter(user=user, workspace=workspace).values_list("role", flat=True).first()


def personal(user, **changes):
    return {"username": user.username, "email": user.email, "first_name": "", "last_name": "", **changes}


# People ------------------------------------------------------------------------------------------------------


NEW = {
    "username": "new",
    "email": "new@example.test",
    "password1": "a good one 7",
    "password2": "a good one 7",
}


@pytest.mark.parametrize("role", ["owner", "admin"])
def test_an_owner_adds_a_member_of_staff_and_is_done(workspace, role):
    owner = staff_with((workspace, role))
    contact = a_contact(workspace, "ada@example.com")
    body = {**NEW, "workspace": str(workspace.pk), "role": "editor", "is_staff": "on"}
    assert owner.post(page("user", "add"), body).status_code == 302
    new = User.objects.get(username="new")
    assert (role_of(new, workspace), new.is_staff, new.is_superuser) == ("editor", True, False)
    editor = signed_in(new)
    address = reverse("admin:contacts_contact_change", args=[contact.pk])
    assert "_save" in editor.get(address).text
    assert editor.get(page("user", "changelist")).status_code == 403
    assert owner.get(page("user", "change", new.pk)).status_code == 200


def test_nobody_gives_a_role_beyond_the_own_one(workspace):
    owner = colleague((workspace, "owner"))
    client = staff_with((workspace, "admin"))
    me = User.objects.get(pk=client.session["_auth_user_id"])
    body = {**NEW, "workspace": str(workspace.pk), "role": "owner"}
    assert client.post(page("user", "add"), body).status_code == 200
    assert not User.objects.filter(username="new").exists()
    own, theirs = Membership.objects.get(user=me), Membership.objects.get(user=owner)
    rows = [
        {"id": own.pk, "workspace": workspace.pk, "user": me.pk, "role": "owner"},
        {"id": theirs.pk, "workspace": workspace.pk, "user": owner.pk, "role": "viewer"},
        {"id": theirs.pk, "workspace": workspace.pk, "user": owner.pk, "role": "owner", "DELETE": "on"},
    ]
    form = {"name": "x", "identity_field": "email", "quarantine": "batches"}
    for row in rows:
        address = page("workspace", "change", workspace.pk)
        assert client.post(address, form | memberships(row, initial=1)).status_code == 200
    assert (role_of(me, workspace), role_of(owner, workspace)) == ("admin", "owner")


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_who_administers_nothing_sees_no_people(workspace, role):
    other = colleague((workspace, "viewer"))
    client = staff_with((workspace, role), permissions=Permission.objects.values_list("codename", flat=True))
    assert client.get(page("user", "changelist")).status_code == 403
    assert client.get(page("user", "change", other.pk)).status_code == 404
    assert client.get(page("apikey", "changelist")).status_code == 403
    shown = client.get(page("workspace", "change", workspace.pk))
    assert shown.status_code == 200
    assert other.username not in shown.text
    assert client.post(page("workspace", "change", workspace.pk), {"name": "x"}).status_code == 403


def test_people_of_other_workspaces_are_not_there(workspace):
    stranger = colleague((WorkspaceFactory.create(), "owner"))
    nobody = colleague()
    client = staff_with((workspace, "owner"))
    listed = client.get(page("user", "changelist")).context["cl"].result_list
    assert [one.pk for one in listed] == [User.objects.get(pk=client.session["_auth_user_id"]).pk]
    for user in (stranger, nobody):
        for kind in ("change", "history", "delete"):
            assert client.get(page("user", kind, user.pk)).status_code == 404
        assert client.get(reverse("admin:auth_user_password_change", args=[user.pk])).status_code == 404


def test_of_a_person_in_two_workspaces_only_the_membership_is_ones_own(workspace):
    elsewhere = WorkspaceFactory.create(name="Elsewhere Ltd")
    both = colleague((workspace, "editor"), (elsewhere, "owner"))
    client = staff_with((workspace, "owner"))
    address = page("user", "change", both.pk)
    assert "Elsewhere Ltd" not in client.get(address).text
    row = {
        "id": Membership.objects.get(user=both, workspace=workspace).pk,
        "user": both.pk,
        "workspace": workspace.pk,
        "role": "viewer",
    }
    taken = personal(both, email="mine@example.test", username="mine", is_staff="on", is_superuser="on")
    assert client.post(address, taken | memberships(row, initial=1)).status_code == 302
    both.refresh_from_db()
    assert (both.email, both.is_staff, both.is_superuser) == (f"{both.username}@example.test", False, False)
    assert (role_of(both, workspace), role_of(both, elsewhere)) == ("viewer", "owner")
    assert client.post(address, memberships({**row, "DELETE": "on"}, initial=1)).status_code == 302
    assert role_of(both, workspace) is None
    assert client.get(address).status_code == 404


def test_a_membership_elsewhere_is_neither_given_nor_taken(workspace):
    elsewhere = WorkspaceFactory.create()
    both = colleague((workspace, "editor"), (elsewhere, "viewer"))
    client = staff_with((workspace, "owner"), (elsewhere, "viewer"))
    address = page("user", "change", both.pk)
    theirs = Membership.objects.get(user=both, workspace=elsewhere)
    row = {"id": theirs.pk, "user": both.pk, "workspace": elsewhere.pk, "role": "owner"}
    client.post(address, personal(both) | memberships(row, initial=1))
    client.post(address, personal(both) | memberships({**row, "DELETE": "on"}, initial=1))
    third = WorkspaceFactory.create()
    for where in (elsewhere, third):
        answer = client.post(address, personal(both) | memberships({"workspace": where.pk, "role": "viewer"}))
        assert answer.status_code == 200
    assert (role_of(both, elsewhere), role_of(both, third)) == ("viewer", None)


@pytest.mark.parametrize(
    ("values", "elsewhere", "status"),
    [({}, None, 302), ({"is_superuser": True}, None, 403), ({}, "viewer", 403), ({}, "owner", 403)],
)
def test_a_password_is_set_of_whom_one_administers_wholly(workspace, values, elsewhere, status):
    roles = [(workspace, "admin")] + ([(WorkspaceFactory.create(), elsewhere)] if elsewhere else [])
    user = colleague(*roles, **values)
    client = staff_with((workspace, "owner"))
    address = reverse("admin:auth_user_password_change", args=[user.pk])
    body = {"password1": "a new one 42", "password2": "a new one 42"}
    assert client.post(address, body).status_code == status
    user.refresh_from_db()
    assert user.check_password("a new one 42") is (status == 302)


def test_an_admin_does_not_set_an_owners_password(workspace):
    owner = colleague((workspace, "owner"))
    client = staff_with((workspace, "admin"))
    address = reverse("admin:auth_user_password_change", args=[owner.pk])
    assert client.post(address, {"password1": "a new one 42", "password2": "a new one 42"}).status_code == 403


def test_nobody_makes_superusers_or_gives_permissions(workspace):
    user = colleague((workspace, "viewer"))
    client = staff_with((workspace, "owner"))
    group = Group.objects.create(name="All")
    forged = {
        "is_superuser": "on",
        "user_permissions": [str(Permission.objects.all()[0].pk)],
        "groups": [str(group.pk)],
    }
    for one in (user, User.objects.get(pk=client.session["_auth_user_id"])):
        answer = client.post(
            page("user", "change", one.pk),
            personal(one, is_staff="on", is_active="on", **forged) | memberships(),
        )
        assert answer.status_code == 302
        one.refresh_from_db()
        assert (one.is_superuser, one.groups.count(), one.user_permissions.count()) == (False, 0, 0)
        assert client.post(page("user", "delete", one.pk), {"post": "yes"}).status_code == 403
    assert (
        client.post(
            page("user", "add"), {**NEW, **forged, "workspace": str(workspace.pk), "role": "viewer"}
        ).status_code
        == 302
    )
    assert not User.objects.get(username="new").is_superuser
    assert client.get(reverse("admin:auth_group_changelist")).status_code == 403
    assert client.post(reverse("admin:auth_group_add"), {"name": "x"}).status_code == 403


# Roles and permissions ---------------------------------------------------------------------------------------


def test_permissions_narrow_a_role_and_never_widen_it(workspace):
    contact = a_contact(workspace, "ada@example.com")
    address = reverse("admin:contacts_contact_change", args=[contact.pk])
    narrow = staff_with((workspace, "owner"), permissions=["view_contact", "add_apikey"])
    assert "_save" not in narrow.get(address).text
    assert narrow.get(page("apikey", "add")).status_code == 200
    assert narrow.get(page("user", "add")).status_code == 403
    wide = staff_with((workspace, "viewer"), permissions=["change_contact", "view_contact"])
    assert wide.post(address, {"first_name": "x"}).status_code == 403
    assert staff_with(permissions=["view_contact"]).get(address).status_code == 404


def test_roles_count_where_they_are(workspace):
    """An owner here who is a viewer there does here what owners do, and looks on there."""
    there = WorkspaceFactory.create()
    client = staff_with((workspace, "owner"), (there, "viewer"))
    tags = {one.pk: Tag.objects.create(workspace=one, name="vip") for one in (workspace, there)}
    lists = reverse("admin:contacts_tag_changelist")
    for where, is_allowed in ((workspace, True), (there, False)):
        shown = client.get(lists, {"workspace": str(where.pk)})
        assert [one.pk for one in shown.context["cl"].result_list] == [tags[where.pk].pk]
        assert (reverse("admin:contacts_tag_add") in shown.text) is is_allowed
        assert ("delete_selected" in shown.text) is is_allowed
        body = {"action": "delete_selected", "_selected_action": [str(tags[there.pk].pk)], "post": "yes"}
        client.post(f"{lists}?workspace={where.pk}", body)
        added = client.post(reverse("admin:contacts_tag_add"), {"workspace": str(where.pk), "name": "new"})
        assert (added.status_code == 302) is is_allowed
    assert Tag.objects.filter(workspace=there).count() == 1
    keys = reverse("admin:workspaces_apikey_changelist")
    a_key(there)
    assert not client.get(keys, {"workspace": str(there.pk)}).context["cl"].result_list
    assert ApiKey.objects.count() == 1


def test_a_membership_that_ends_ends_at_once(workspace):
    client = staff_with((workspace, "owner"))
    address = reverse("admin:contacts_contact_change", args=[a_contact(workspace).pk])
    assert client.get(address).status_code == 200
    Membership.objects.filter(workspace=workspace).delete()
    assert client.get(address).status_code == 404


SECTIONS = {"view_event": "All events", "view_message": "All messages", "view_decision": "All decisions"}


@pytest.mark.parametrize("seen", [*SECTIONS, None])
def test_a_section_is_for_who_may_see_what_it_shows(workspace, seen):
    contact = a_contact(workspace, "ada@example.com")
    address = reverse("admin:contacts_contact_change", args=[contact.pk])
    text = staff_with((workspace, "viewer"), permissions=["view_contact", seen]).get(address).text
    assert {name for name, words in SECTIONS.items() if words in text} == ({seen} if seen else set())
    assert "Score: " not in text
    assert "Score: " in staff_with((workspace, "viewer")).get(address).text


def test_roles_are_those_of_the_api(workspace, monkeypatch):
    contact = a_contact(workspace, "ada@example.com")
    monkeypatch.setitem(ROLE_SCOPES, Role.VIEWER.value, READ_SCOPES - {"messages:read", "events:read"})
    client = staff_with((workspace, "viewer"))
    text = client.get(reverse("admin:contacts_contact_change", args=[contact.pk])).text
    assert ("All events" in text, "All messages" in text, "All decisions" in text) == (False, False, True)
    assert client.get(reverse("admin:events_event_changelist")).status_code == 403


def test_a_secret_is_no_column_to_guess_at(workspace):
    ChannelSettings.objects.create(workspace=workspace, channel="telegram", secret="s3cret")
    client = staff_with((workspace, "owner"))
    lists = reverse("admin:campaigns_channelsettings_changelist")
    assert client.get(lists, {"secret__startswith": "s3"}).status_code == 400
    assert (
        client.get(
            reverse("admin:workspaces_application_changelist"), {"client_secret__startswith": "p"}
        ).status_code
        == 400
    )


def test_the_audit_log_is_of_the_own_workspaces(workspace):
    there = WorkspaceFactory.create()
    clients = {one.pk: staff_with((one, "owner")) for one in (workspace, there)}
    for where in (workspace, there):
        contact = Contact.objects.create(workspace=where, first_name=f"Ada of {where}")
        clients[where.pk].post(reverse("admin:contacts_contact_delete", args=[contact.pk]), {"post": "yes"})
        clients[where.pk].post(
            reverse("admin:contacts_tag_add"), {"workspace": str(where.pk), "name": f"tag of {where}"}
        )
    assert LogEntry.objects.count() == 4
    lists = reverse("admin:admin_logentry_changelist")
    for own, other in ((workspace, there), (there, workspace)):
        for address in (lists, reverse("admin:index")):
            text = clients[own.pk].get(address).text
            assert f"tag of {own}" in text
            assert f"tag of {other}" not in text
        assert len(clients[own.pk].get(lists).context["cl"].result_list) == 2
    assert staff_with((workspace, "editor")).get(lists).status_code == 403


def test_a_filter_names_no_choice_of_others(workspace):
    theirs = Tag.objects.create(workspace=WorkspaceFactory.create(), name="their secret plan")
    own = Tag.objects.create(workspace=workspace, name="own plan")
    client = staff_with((workspace, "viewer"))
    lists = reverse("admin:contacts_contact_changelist")
    for tag, is_named in ((own, True), (theirs, False)):
        text = client.get(lists, {"contact_tags__tag__id__exact": str(tag.pk)}).text
        assert (tag.name in text) is is_named


def test_a_persons_history_is_of_the_own_workspace(workspace):
    there = WorkspaceFactory.create()
    both = colleague((workspace, "viewer"), (there, "viewer"))
    owner = staff_with((workspace, "owner"))
    for where, name in ((workspace, "done here"), (there, "done there")):
        entry = LogEntry.objects.create(
            user=both,
            action_flag=2,
            object_id=str(both.pk),
            object_repr=name,
            change_message=name,
            content_type=ContentType.objects.get_for_model(User),
        )
        AuditEntry.objects.create(workspace=where, entry=entry)
    text = owner.get(page("user", "history", both.pk)).text
    assert "done here" in text
    assert "done there" not in text


def entries_of(workspace):
    return LogEntry.objects.filter(pk__in=AuditEntry.objects.filter(workspace=workspace).values("entry_id"))


def test_whom_an_owner_takes_out_is_on_record_where_they_were(workspace):
    gone = colleague((workspace, "editor"))
    row = {"id": Membership.objects.get(user=gone).pk, "user": gone.pk, "workspace": workspace.pk}
    body = memberships({**row, "role": "editor", "DELETE": "on"}, initial=1)
    owner = staff_with((workspace, "owner"))
    assert owner.post(page("user", "change", gone.pk), personal(gone) | body).status_code == 302
    assert role_of(gone, workspace) is None
    (entry,) = entries_of(workspace)
    assert f"Deleted membership “{gone.username} (Editor)”" in entry.get_change_message()
    assert gone.username in owner.get(reverse("admin:admin_logentry_changelist")).text


@pytest.mark.parametrize("who", ["owner", "superuser"])
def test_a_membership_is_the_business_of_its_workspace_alone(workspace, who):
    """Neither who gave it, nor that there is one, is told to the other workspaces of the person."""
    there, third = WorkspaceFactory.create(), WorkspaceFactory.create()
    both = colleague((workspace, "editor"), (there, "editor"))
    if who == "owner":
        client = staff_with((workspace, "owner"), (third, "owner"))
    else:
        client = signed_in(UserFactory.create(is_staff=True, is_superuser=True))
    body = personal(both, is_active="on")
    added = memberships({"user": both.pk, "workspace": third.pk, "role": "viewer"})
    assert client.post(page("user", "change", both.pk), body | added).status_code == 302
    assert role_of(both, third) == "viewer"
    assert [entries_of(one).count() for one in (workspace, there, third)] == [0, 0, 1]
    row = {
        "id": Membership.objects.get(user=both, workspace=workspace).pk,
        "user": both.pk,
        "workspace": workspace.pk,
        "role": "viewer",
    }
    changed = client.post(page("user", "change", both.pk), body | memberships(row, initial=1))
    assert changed.status_code == 302
    assert role_of(both, workspace) == "viewer"
    assert [entries_of(one).count() for one in (workspace, there, third)] == [1, 0, 1]


def test_what_is_of_a_person_is_the_business_of_all_their_workspaces(workspace):
    there = WorkspaceFactory.create()
    both = colleague((workspace, "editor"), (there, "editor"))
    client = staff_with((workspace, "owner"), (there, "owner"))
    body = personal(both, is_active="on", first_name="Ada")
    assert client.post(page("user", "change", both.pk), body | memberships()).status_code == 302
    passwords = {"password1": "a new one 42", "password2": "a new one 42"}
    client.post(reverse("admin:auth_user_password_change", args=[both.pk]), passwords)
    assert [entries_of(one).count() for one in (workspace, there)] == [2, 2]


@pytest.mark.parametrize("role", ["viewer", "editor"])
def test_the_history_of_a_workspace_names_its_people_to_no_viewer(workspace, role):
    new = colleague(username="newcomer")
    root = signed_in(UserFactory.create(is_staff=True, is_superuser=True))
    added = memberships({"user": new.pk, "role": "editor"})
    body = {
        "name": "Mill",
        "identity_field": workspace.identity_field,
        "quarantine": "batches",
        "allowed_origins": "",
    }
    assert root.post(page("workspace", "change", workspace.pk), body | added).status_code == 302
    history = page("workspace", "history", workspace.pk)
    assert "newcomer" in staff_with((workspace, "owner")).get(history).text
    shown = staff_with((workspace, role)).get(history)
    assert shown.status_code == 200
    assert "newcomer" not in shown.text


# Sessions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"is_active": False}, {"is_staff": False}])
def test_who_is_no_staff_any_more_is_out_at_once(workspace, change):
    client = staff_with((workspace, "owner"))
    address = reverse("admin:contacts_contact_change", args=[a_contact(workspace).pk])
    me = User.objects.filter(pk=client.session["_auth_user_id"])
    assert client.get(address).status_code == 200
    me.update(**change)
    for response in (client.get(address), client.post(address, {"last_name": "x"})):
        assert response.status_code == 302
        assert response.url.startswith("/admin/login/")
    assert client.get("/admin/autocomplete/").status_code == 302


def test_a_role_that_falls_between_a_question_and_its_answer_counts(workspace):
    client = staff_with((workspace, "owner"))
    contact = a_contact(workspace)
    lists = reverse("admin:contacts_contact_changelist")
    body = {"action": "erase_chosen", "_selected_action": [str(contact.pk)]}
    asked = client.post(lists, body)
    Membership.objects.filter(workspace=workspace).update(role="viewer")
    client.post(lists, {**body, "confirmed": asked.context["token"]})
    assert Contact.objects.filter(pk=contact.pk).exists()


@pytest.mark.parametrize(
    "there",
    ["https://evil.test/", "//evil.test/", "/\\evil.test", "javascript:alert(1)", "http:///evil.test"],
)
def test_signing_in_leads_to_no_other_site(workspace, there):
    user = colleague((workspace, "viewer"), is_staff=True)
    user.set_password("a good one 7")
    user.save()
    client = Client()
    body = {"username": user.username, "password": "a good one 7", "next": there}
    for address in ("/admin/login/", f"/admin/login/?next={there}"):
        response = client.post(address, body)
        assert (response.status_code, response.url) == (302, "/admin/")
        assert client.get(f"/admin/login/?next={there}").url == "/admin/"
        client.logout()


def test_a_name_that_somebody_has_is_not_added_again(workspace):
    there = WorkspaceFactory.create(name="Elsewhere Ltd")
    taken = colleague((there, "owner"))
    before = taken.password
    client = staff_with((workspace, "owner"))
    for name, email in ((taken.username, "new@example.test"), ("new", taken.email.upper())):
        body = {**NEW, "username": name, "email": email, "workspace": str(workspace.pk), "role": "viewer"}
        refused = client.post(page("user", "add"), body)
        assert refused.status_code == 200
        assert "Elsewhere" not in refused.text
    taken.refresh_from_db()
    assert (taken.password, role_of(taken, workspace)) == (before, None)
    assert User.objects.filter(email__iexact=taken.email).count() == 1


def test_a_list_reads_a_members_roles_once(workspace, django_assert_max_num_queries):
    for _ in range(5):
        client = staff_with((workspace, "owner"), *[(WorkspaceFactory.create(), "viewer") for _ in range(5)])
    with django_assert_max_num_queries(15):
        assert client.get(reverse("admin:contacts_contact_changelist")).status_code == 200


# Checks ------------------------------------------------------------------------------------------------------


def faults_of(monkeypatch, model_admin):
    monkeypatch.setitem(admin.site._registry, model_admin.model, model_admin)
    return {error.id for error in check_admin()}


def test_the_admin_as_it_is_has_no_fault():
    assert not check_admin()


def test_a_page_that_asks_for_no_role_is_refused(monkeypatch):
    class Inline(TabularInline):
        model = Tag

    class Plain(ModelAdmin):
        pass

    class NoResource(RoleModelAdmin):
        inlines = [Inline]

    class Everybodys(WorkspaceModelAdmin):
        resource = "contacts"
        list_filter = ["merged_into"]
        actions = ["explode"]

        @admin.action
        def explode(self, request, queryset):
            return None

    assert faults_of(monkeypatch, Plain(Contact, admin.site)) == {"headrace.E011"}
    assert faults_of(monkeypatch, NoResource(Contact, admin.site)) == {"headrace.E012", "headrace.E013"}
    assert faults_of(monkeypatch, Everybodys(Contact, admin.site)) == {f"headrace.E01{n}" for n in (4, 5, 6)}
    assert issubclass(RoleModelAdmin, RolePermissionMixin)
    assert WorkspaceFilter in WorkspaceModelAdmin.list_filter
