"""A contact's page says what is known of the contact, and why it has its score."""

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from contacts.models import Consent, Contact, ContactScore, ContactTag, Identifier, Tag
from events.models import Event
from scoring.models import ScoringRule
from tests.admin.rows import lines
from workspaces.models import Workspace


@pytest.fixture
def ada(workspace):
    return Contact.objects.create(workspace=workspace, first_name="Ada", last_name="Lovelace")


@pytest.fixture
def rule(workspace):
    return ScoringRule.objects.create(
        workspace=workspace, name="Whoever pays counts", event_name="paid", points=7
    )


def page_of(contact):
    return reverse("admin:contacts_contact_change", args=[contact.pk])


def form_of(contact, **changes):
    """Return what the page posts when nothing is changed but `changes`."""
    empty = {
        f"{prefix}-{name}": "0"
        for prefix in ("identifiers", "consents", "contact_tags", "company_memberships")
        for name in ("TOTAL_FORMS", "INITIAL_FORMS", "MIN_NUM_FORMS")
    }
    return {
        "first_name": contact.first_name,
        "last_name": contact.last_name,
        "attributes": "{}",
        **empty,
        **changes,
    }


def row(prefix, index, **values):
    return {f"{prefix}-{index}-{name}": value for name, value in values.items()}


def test_it_shows_the_score_and_its_reasons(staff, ada, rule):
    events = lines(ada.workspace, ada, rule, 2)
    ContactScore.objects.create(workspace=ada.workspace, contact=ada, points=14)
    text = staff.get(page_of(ada)).content.decode()
    assert "Score: 14" in text
    assert text.count("Whoever pays counts") == 2
    assert "+7" in text
    for event in events:
        # Once among the events, once as a reason.
        assert text.count(reverse("admin:events_event_change", args=[event.pk])) == 2


def test_a_reason_outlives_its_rule(staff, ada, rule):
    lines(ada.workspace, ada, rule, 1)
    rule.delete()
    text = staff.get(page_of(ada)).content.decode()
    assert "(deleted rule)" in text
    assert (
        staff.get(reverse("admin:scoring_scoreentry_changelist")).content.decode().count("(deleted rule)")
        == 1
    )


def test_it_takes_no_query_per_line(staff, ada, rule):
    lines(ada.workspace, ada, rule, 1)
    _hang_on(ada, 1)
    few = _queries(staff, ada)
    lines(ada.workspace, ada, rule, 40)
    _hang_on(ada, 30)
    assert _queries(staff, ada) <= few <= 31


def _hang_on(contact, count):
    workspace = contact.workspace
    start = Tag.objects.count()
    for n in range(start, start + count):
        tag = Tag.objects.create(workspace=workspace, name=f"tag {n}")
        ContactTag.objects.create(workspace=workspace, contact=contact, tag=tag)
        Identifier.objects.create(
            workspace=workspace, contact=contact, kind="email", value=f"{n}@example.com"
        )


def _queries(staff, contact):
    with CaptureQueriesContext(connection) as queries:
        assert staff.get(page_of(contact)).status_code == 200
    return len(queries)


def test_values_are_escaped(staff, ada, rule):
    rule.name = "<script>alert(1)</script>"
    rule.save()
    lines(ada.workspace, ada, rule, 1)
    assert b"<script>alert(1)" not in staff.get(page_of(ada)).content


def test_identifiers_are_stored_as_look_ups_spell_them(staff, ada):
    added = row("identifiers", 0, kind="email", value=" Ada@Example.COM ")
    response = staff.post(page_of(ada), form_of(ada, **{"identifiers-TOTAL_FORMS": "1"}, **added))
    assert response.status_code == 302
    identifier = Identifier.objects.get(contact=ada)
    assert (identifier.value, identifier.is_primary) == ("ada@example.com", True)
    assert identifier.workspace_id == ada.workspace_id


def test_a_new_primary_identifier_takes_the_old_ones_place(staff, ada):
    old = Identifier.objects.create(
        workspace=ada.workspace, contact=ada, kind="email", value="old@example.com", is_primary=True
    )
    kept = row("identifiers", 0, id=str(old.pk), contact=str(ada.pk), kind="email", value=old.value)
    new = row("identifiers", 1, kind="email", value="new@example.com", is_primary="on")
    counts = {"identifiers-TOTAL_FORMS": "2", "identifiers-INITIAL_FORMS": "1"}
    response = staff.post(page_of(ada), form_of(ada, **counts, **kept, **new))
    assert response.status_code == 302
    assert list(Identifier.objects.filter(is_primary=True).values_list("value", flat=True)) == [
        "new@example.com"
    ]


@pytest.mark.parametrize(
    ("kind", "value"), [("email", "taken@example.com"), ("email", "no address"), ("shoe_size", "42")]
)
def test_an_impossible_identifier_is_refused(staff, ada, workspace, kind, value):
    other = Contact.objects.create(workspace=workspace)
    Identifier.objects.create(workspace=workspace, contact=other, kind="email", value="taken@example.com")
    added = row("identifiers", 0, kind=kind, value=value)
    response = staff.post(page_of(ada), form_of(ada, **{"identifiers-TOTAL_FORMS": "1"}, **added))
    assert response.status_code == 200
    assert not ada.identifiers.exists()


def test_a_tag_of_another_workspace_is_refused(staff, ada):
    foreign = Tag.objects.create(workspace=Workspace.objects.create(name="Other"), name="foreign")
    added = row("contact_tags", 0, tag=str(foreign.pk))
    response = staff.post(page_of(ada), form_of(ada, **{"contact_tags-TOTAL_FORMS": "1"}, **added))
    assert response.status_code == 200
    assert b"belongs to another workspace" in response.content
    assert not ContactTag.objects.exists()


def test_a_consent_is_set(staff, ada):
    added = row("consents", 0, channel="email", status="opted_out")
    response = staff.post(page_of(ada), form_of(ada, **{"consents-TOTAL_FORMS": "1"}, **added))
    assert response.status_code == 302
    assert Consent.objects.get(contact=ada).status == "opted_out"
    assert Event.objects.filter(contact=ada, name="contact.unsubscribed", source="system").count() == 1


@pytest.mark.parametrize(
    "attributes", ["[]", "NaN", '{"a": NaN}', '{"a": "\\u0000"}', "[" * 10_000, "{", '"x"']
)
def test_attributes_that_cannot_be_stored_are_refused(staff, ada, attributes):
    response = staff.post(page_of(ada), form_of(ada, attributes=attributes))
    assert response.status_code == 200
    ada.refresh_from_db()
    assert ada.attributes == {}


def test_contacts_are_deleted_by_the_service(staff, ada, rule):
    lines(ada.workspace, ada, rule, 1)
    ContactScore.objects.create(workspace=ada.workspace, contact=ada, points=7)
    page = reverse("admin:contacts_contact_delete", args=[ada.pk])
    assert staff.get(page).status_code == 200
    assert staff.post(page, {"post": "yes"}).status_code == 302
    assert not Contact.objects.exists()
    assert LogEntry.objects.count() == 1


def test_a_list_finds_by_identifier_and_by_name(staff, ada):
    Identifier.objects.create(workspace=ada.workspace, contact=ada, kind="email", value="ada@example.com")
    Contact.objects.create(workspace=ada.workspace, last_name="Babbage")
    for text in ("ada@", "ADA@example", "lovel", "ada love", str(ada.pk)):
        response = staff.get(reverse("admin:contacts_contact_changelist"), {"q": text})
        assert [found.pk for found in response.context["cl"].result_list] == [ada.pk], text


def test_a_list_shows_one_workspace(staff, ada):
    other = Workspace.objects.create(name="Other")
    stranger = Contact.objects.create(workspace=other)
    url = reverse("admin:contacts_contact_changelist")
    assert [c.pk for c in staff.get(url).context["cl"].result_list] == [ada.pk]
    assert [c.pk for c in staff.get(url, {"workspace": other.pk}).context["cl"].result_list] == [stranger.pk]
    # The choice is remembered for the next list.
    assert [c.pk for c in staff.get(url).context["cl"].result_list] == [stranger.pk]
