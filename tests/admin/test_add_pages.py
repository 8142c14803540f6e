"""Every page that adds a row takes what hangs on it at once, and no error stays out of sight."""

from html import unescape

import pytest
from django.contrib import admin

from contacts.models import Company, CompanyMembership, Consent, Contact, ContactTag, Identifier, Tag
from events.models import EventDefinition, EventProperty
from tests.admin.test_every_page import REGISTERED, label, url_of
from workspaces.models import Membership, User, Workspace


def _with_inlines():
    return [model for model in REGISTERED if admin.site._registry[model].inlines]


def parent_values(model, workspace):
    values = {
        Contact: {"first_name": "Ada", "last_name": "Lovelace", "attributes": "{}"},
        EventDefinition: {"name": "paid", "is_declared": "on", "late_after_hours": "72"},
        Workspace: {"name": "Forge", "identity_field": "email", "quarantine": "batches"},
    }
    return {"workspace": str(workspace.pk), **values[model]}


def row_values(model, workspace):
    """Return what a row of `model` is posted with; a new inline has to be named here."""
    return {
        Identifier: lambda: {"kind": "email", "value": "Ada@Example.com", "is_primary": "on"},
        Consent: lambda: {"channel": "email", "status": "opted_in"},
        ContactTag: lambda: {"tag": str(Tag.objects.create(workspace=workspace, name="vip").pk)},
        CompanyMembership: lambda: {
            "company": str(Company.objects.create(workspace=workspace, name="Mill", name_key="mill").pk)
        },
        EventProperty: lambda: {"name": "amount", "type": "number", "position": "0"},
        Membership: lambda: {"user": str(User.objects.create(username="miller").pk), "role": "owner"},
    }[model]()


def posted(page, rows):
    """Return the form of an add page with `rows` of its inlines, by prefix."""
    body = {}
    for inline in page.context["inline_admin_formsets"]:
        prefix, of_inline = inline.formset.prefix, rows.get(inline.formset.prefix, [])
        body |= {f"{prefix}-TOTAL_FORMS": str(len(of_inline)), f"{prefix}-INITIAL_FORMS": "0"}
        for index, values in enumerate(of_inline):
            body |= {f"{prefix}-{index}-{name}": value for name, value in values.items()}
    return body


@pytest.mark.parametrize("model", _with_inlines(), ids=label)
def test_a_row_is_added_with_a_row_of_each_inline(staff, workspace, model):
    page = staff.get(url_of(model, "add"))
    # A user's memberships are asked for once the user exists.
    inlines = page.context["inline_admin_formsets"]
    if model is User:
        assert not inlines
        return
    rows = {one.formset.prefix: [row_values(one.formset.model, workspace)] for one in inlines}
    response = staff.post(url_of(model, "add"), parent_values(model, workspace) | posted(page, rows))
    assert response.status_code == 302, response.context["errors"]
    made = model.objects.latest("created_at")
    for inline in inlines:
        (row,) = inline.formset.model.objects.filter(**{inline.formset.fk.name: made})
        assert row.workspace_id == (made.pk if model is Workspace else workspace.pk)


@pytest.mark.parametrize("named", ["Ada@Example.com", "+1 555 123 4567"])
def test_a_contact_is_added_with_what_it_is_known_by(staff, workspace, named):
    kind = "email" if "@" in named else "phone"
    page = staff.get(url_of(Contact, "add"))
    body = parent_values(Contact, workspace) | posted(page, {"identifiers": [{"kind": kind, "value": named}]})
    assert staff.post(url_of(Contact, "add"), body).status_code == 302
    found = Identifier.objects.get()
    assert (found.value, found.is_primary) == (named.lower().replace(" ", ""), True)


def test_what_is_another_workspaces_is_refused_at_its_field(staff, workspace):
    other = Workspace.objects.create(name="Other")
    tag = Tag.objects.create(workspace=other, name="theirs")
    page = staff.get(url_of(Contact, "add"))
    body = parent_values(Contact, workspace) | posted(page, {"contact_tags": [{"tag": str(tag.pk)}]})
    response = staff.post(url_of(Contact, "add"), body)
    assert response.status_code == 200
    (form,) = response.context["inline_admin_formsets"][2].formset.forms
    assert set(form.errors) == {"tag"}
    assert not Contact.objects.exists()


def test_an_identifier_that_is_taken_there_is_refused(staff, workspace):
    Identifier.objects.create(
        workspace=workspace,
        contact=Contact.objects.create(workspace=workspace),
        kind="email",
        value="ada@example.com",
    )
    page = staff.get(url_of(Contact, "add"))
    rows = {"identifiers": [{"kind": "email", "value": "ada@example.com"}]}
    response = staff.post(url_of(Contact, "add"), parent_values(Contact, workspace) | posted(page, rows))
    assert response.status_code == 200
    assert "already exists" in response.text
    assert Contact.objects.count() == 1


def test_without_a_workspace_it_is_that_what_is_told(staff, workspace):
    page = staff.get(url_of(Contact, "add"))
    rows = {
        "identifiers": [row_values(Identifier, workspace)],
        "contact_tags": [row_values(ContactTag, workspace)],
    }
    body = parent_values(Contact, workspace) | {"workspace": ""} | posted(page, rows)
    response = staff.post(url_of(Contact, "add"), body)
    assert response.status_code == 200
    assert set(response.context["adminform"].form.errors) == {"workspace"}
    assert not any(error for one in response.context["inline_admin_formsets"] for error in one.formset.errors)


@pytest.mark.parametrize("model", _with_inlines(), ids=label)
def test_the_error_of_a_hidden_field_is_on_the_page(staff, rows, model):
    row = User.objects.first() if model is User else model.objects.first()
    page = url_of(model, "change", row.pk)
    told = set()
    for inline in staff.get(page).context["inline_admin_formsets"]:
        prefix = inline.formset.prefix
        body = {f"{prefix}-TOTAL_FORMS": "1", f"{prefix}-INITIAL_FORMS": "1", f"{prefix}-0-id": "gone"}
        response = staff.post(page, body)
        assert response.status_code == 200
        for shown in response.context["inline_admin_formsets"]:
            hidden = [field for form in shown.formset.forms for field in form.hidden_fields()]
            told |= {error for field in hidden for error in field.errors}
            assert all(error in unescape(response.text) for field in hidden for error in field.errors)
    assert told
